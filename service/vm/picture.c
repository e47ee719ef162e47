/* PPM to PNG. The only file that knows libpng. */
#include "service/vm/picture.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <png.h>

#include "service/base/str.h"

#define SIDE_MAX 16384u

static const char png_magic[8] = "\x89PNG\r\n\x1a\n";

/* White space and comments, then digits. */
static bool read_number(const char **at, const char *end, uint32_t max, uint32_t *ret)
{
    const char *p = *at;
    uint32_t value = 0;
    bool any = false;

    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n' || *p == '#')) {
        if (*p++ != '#')
            continue;
        while (p < end && *p != '\n')
            p++;
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (uint32_t)(*p - '0');
        if (value > max)
            return false;
        any = true;
    }
    *at = p;
    *ret = value;
    return any;
}

static const char *read_ppm(const char *data, size_t len, png_image *image)
{
    const char *at = data + 2, *end = data + len;
    uint32_t width, height, depth;

    if (len < 2 || memcmp(data, "P6", 2) != 0 || !read_number(&at, end, SIDE_MAX, &width) ||
        !read_number(&at, end, SIDE_MAX, &height) || !read_number(&at, end, 255, &depth))
        return NULL;
    /* One byte of white space, then the pixels. */
    if (!width || !height || depth != 255 || at == end ||
        (size_t)(end - at - 1) < (size_t)width * height * 3)
        return NULL;
    image->width = width;
    image->height = height;
    return at + 1;
}

int picture_to_png(const char *data, size_t len, char **ret, size_t *ret_len, struct error *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
    const char *pixels;
    png_alloc_size_t size;
    auto_free char *png = NULL;

    if (len > sizeof(png_magic) && memcmp(data, png_magic, sizeof(png_magic)) == 0) {
        png = xcalloc(len, 1);
        memcpy(png, data, len);
        *ret = TAKE_PTR(png);
        *ret_len = len;
        return 0;
    }
    pixels = read_ppm(data, len, &image);
    if (!pixels)
        return error_set(err, ERROR_HYPERVISOR_FAILED, "the picture of the screen cannot be read");
    /* Fast rather than small: it is looked at once. */
    image.flags = PNG_IMAGE_FLAG_FAST;
    size = PNG_IMAGE_PNG_SIZE_MAX(image);
    png = xcalloc(size, 1);
    if (!png_image_write_to_memory(&image, png, &size, 0, pixels, 0, NULL)) {
        error_set(err, ERROR_INTERNAL, "the picture of the screen cannot be written");
        error_cause(err, "libpng: %s", image.message);
        return -1;
    }
    *ret = TAKE_PTR(png);
    *ret_len = size;
    return 0;
}
