/* The files of /sys/kernel/mm/ksm and /proc/PID/ksm_stat. */
#include <stdlib.h>
#include <string.h>

#include "service/host/host_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size > 65536 ? NULL : malloc(size + 1);
    struct host_process p = {0};
    char word[16];
    int64_t value;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    parse_ksm_stat(text, &p);
    if (p.has_ksm != (p.has_ksm_rmap_items || p.has_ksm_merging_pages || p.has_ksm_zero_pages ||
                      p.has_ksm_profit || p.has_ksm_mergeable))
        abort();
    (void)parse_integer(text, &value);
    if (parse_choice(text, word, sizeof(word)) && (!*word || strlen(word) >= sizeof(word)))
        abort();
    free(text);
    return 0;
}
