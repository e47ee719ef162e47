/* Patterns, a type and a secret, a line each: what is accepted is also used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"
#include "service/vm/webhook_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = xstrndup((const char *)data, size < 4096 ? size : 4096);
    char signature[WEBHOOK_SIGNATURE_SIZE];
    char *rest = text;
    char *patterns = strsep(&rest, "\n"), *type = strsep(&rest, "\n"), *secret = strsep(&rest, "\n");

    secret_init();
    if (!type || !secret)
        return 0;
    if (webhook_pattern_ok(patterns) && strchr(patterns, ' '))
        abort();
    if (webhook_pattern_ok(patterns) && strcmp(patterns, type) == 0 && !webhook_matches(patterns, type))
        abort();
    (void)webhook_matches(patterns, type);
    if (webhook_secret_ok(secret))
        webhook_sign(secret, "evt_1", 1, text, strlen(text), signature);
    return 0;
}
