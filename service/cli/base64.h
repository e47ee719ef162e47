/* Base64 as the API writes it (RFC 4648, with padding). Any thread. */
#ifndef DROVER_CLI_BASE64_H
#define DROVER_CLI_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* Caller frees. */
char *base64_encode(const void *data, size_t len);
/* False when it is none. *ret is NUL-terminated beyond its length; caller frees. */
bool base64_decode(const char *text, char **ret, size_t *ret_len);

#endif
