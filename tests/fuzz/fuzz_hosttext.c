/* /proc/meminfo, /proc/cpuinfo, lists of CPUs, smaps_rollup and pressure files. */
#include <stdlib.h>
#include <string.h>

#include "service/host/host_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size > 65536 ? NULL : malloc(size + 1);
    struct host_process_memory memory = {0};
    double percent = 0;
    char word[16];
    int64_t value;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    (void)parse_line(text, "MemTotal", &value);
    (void)parse_word(text, "flags", word, sizeof(word));
    (void)parse_has_flag(text, "vmx");
    (void)parse_cpu_list(text);
    parse_smaps_rollup(text, &memory);
    if (parse_pressure(text, &percent) && !(percent >= 0 && percent <= 100))
        abort();
    free(text);
    return 0;
}
