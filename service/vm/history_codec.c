/* See history_codec.h. A block: version, planes, points; then deflated: per plane which points are
 * there (a bit each), and zigzag varints of the differences from one to the next. */
#include "service/vm/history_codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "service/base/str.h"

#define VERSION  1
#define HEADER   3
#define EXACT    256    /* codes below are the value itself */
#define STEPS    256    /* codes per doubling above */
#define EXP_MIN  8
#define LEVEL    6
#define RAW_MAX  (HISTORY_PLANES * ((HISTORY_POINTS + 7) / 8 + 3 * HISTORY_POINTS))

int16_t history_code(double value, double unit)
{
    double v = fabs(value) / unit, fraction;
    int exponent, code;

    if (!isfinite(v) || v >= 0x1p60)
        return HISTORY_ABSENT;
    if (v < EXACT) {
        code = (int)(v + 0.5);
    } else {
        fraction = frexp(v, &exponent) * 2 - 1; /* v = (1 + fraction) * 2^(exponent - 1) */
        code = EXACT + (exponent - 1 - EXP_MIN) * STEPS + (int)(fraction * STEPS + 0.5);
    }
    return (int16_t)(value < 0 ? -code : code);
}

double history_value(int16_t code, double unit)
{
    int c = abs((int)code);
    double v = c < EXACT ? c
                         : ldexp(1 + (double)((c - EXACT) % STEPS) / STEPS,
                                 (c - EXACT) / STEPS + EXP_MIN);

    return (code < 0 ? -v : v) * unit;
}

static size_t put_varint(uint8_t *out, uint32_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        out[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

static size_t put_plane(uint8_t *out, const int16_t *codes, unsigned points)
{
    size_t n = (points + 7) / 8;
    int before = 0;

    memset(out, 0, n);
    for (unsigned i = 0; i < points; i++) {
        int delta = codes[i] - before;

        if (codes[i] == HISTORY_ABSENT)
            continue;
        out[i / 8] |= (uint8_t)(1u << i % 8);
        n += put_varint(out + n, delta < 0 ? (uint32_t)(-2 * delta - 1) : (uint32_t)(2 * delta));
        before = codes[i];
    }
    return n;
}

size_t history_pack(const int16_t *codes, unsigned planes, unsigned points, void **ret)
{
    auto_free uint8_t *raw = xcalloc(1, RAW_MAX);
    uLongf packed;
    size_t len = 0;
    uint8_t *out;

    if (planes > HISTORY_PLANES || points > HISTORY_POINTS)
        abort();
    for (unsigned p = 0; p < planes; p++)
        len += put_plane(raw + len, codes + (size_t)p * points, points);
    packed = compressBound(len);
    out = xcalloc(1, HEADER + packed);
    out[0] = VERSION;
    out[1] = (uint8_t)planes;
    out[2] = (uint8_t)points;
    if (compress2(out + HEADER, &packed, raw, len, LEVEL) != Z_OK)
        abort(); /* memory: nothing else can fail with room for the bound */
    *ret = out;
    return HEADER + packed;
}

static bool take_varint(const uint8_t **p, const uint8_t *end, uint32_t *ret)
{
    uint32_t v = 0;

    for (int shift = 0; shift < 21 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;

        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool take_plane(const uint8_t **p, const uint8_t *end, int16_t *codes, unsigned points)
{
    const uint8_t *there = *p;
    int before = 0;

    if ((size_t)(end - *p) < (points + 7) / 8)
        return false;
    *p += (points + 7) / 8;
    for (unsigned i = 0; i < points; i++) {
        uint32_t v;

        if (!(there[i / 8] & 1u << i % 8))
            continue;
        if (!take_varint(p, end, &v))
            return false;
        before += v & 1 ? -(int)(v / 2) - 1 : (int)(v / 2);
        if (before <= INT16_MIN || before > INT16_MAX)
            return false;
        codes[i] = (int16_t)before;
    }
    return true;
}

static bool unpack(const uint8_t *in, size_t len, int16_t *codes, unsigned planes, unsigned points)
{
    auto_free uint8_t *raw = NULL;
    uLongf size = RAW_MAX;
    const uint8_t *p, *end;

    if (len <= HEADER || in[0] != VERSION || in[1] != planes || in[2] != points)
        return false;
    raw = xcalloc(1, RAW_MAX);
    if (uncompress(raw, &size, in + HEADER, len - HEADER) != Z_OK)
        return false;
    p = raw;
    end = raw + size;
    for (unsigned i = 0; i < planes; i++) {
        if (!take_plane(&p, end, codes + (size_t)i * points, points))
            return false;
    }
    return p == end;
}

static void clear(int16_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        codes[i] = HISTORY_ABSENT;
}

bool history_unpack(const void *data, size_t len, int16_t *codes, unsigned planes, unsigned points)
{
    clear(codes, (size_t)planes * points);
    if (planes <= HISTORY_PLANES && points <= HISTORY_POINTS &&
        unpack(data, len, codes, planes, points))
        return true;
    clear(codes, (size_t)planes * points);
    return false;
}
