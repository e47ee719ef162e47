/* Bytes as a configuration file. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/conf/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_settings struct settings *s = settings_new();
    auto_close int fd = memfd_create("settings", MFD_CLOEXEC);
    auto_free char *path = xasprintf("/proc/self/fd/%d", fd);
    struct error err;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    /* Refused or not: a setting outside its bounds must not get through. */
    (void)settings_load(s, path, &err);
    if (s->json_depth < 4 || s->json_depth > 128)
        __builtin_trap();
    return 0;
}
