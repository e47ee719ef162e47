/*
 * What a webhook is made of, as text: patterns of event types, and the secret that signs. Pure; any
 * thread.
 */
#ifndef DROVER_VM_WEBHOOK_FORM_H
#define DROVER_VM_WEBHOOK_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/secret.h"

#define WEBHOOK_URL_MAX       2048 /* bytes */
#define WEBHOOK_PATTERN_MAX   63 /* bytes */
#define WEBHOOK_PATTERNS_MAX  32
#define WEBHOOK_SECRET_PREFIX "whsec_"
#define WEBHOOK_SECRET_MAX    96 /* the prefix and base64 of 24 to 64 bytes */

/* "vm.state", "vm.*" or "*" */
bool webhook_pattern_ok(const char *pattern);
/* patterns: separated by spaces. */
bool webhook_matches(const char *patterns, const char *type);

/* "whsec_" and base64 of 24 to 64 bytes, as https://www.standardwebhooks.com has it. */
bool webhook_secret_ok(const char *secret);
void webhook_secret_new(char ret[WEBHOOK_SECRET_MAX]);

#define WEBHOOK_SIGNATURE_SIZE 64
/* "v1,BASE64" of HMAC-SHA256 over id, timestamp and body, joined by dots. The secret is a good one. */
void webhook_sign(const char *secret, const char *id, int64_t timestamp_s, const char *body,
                  size_t len, char ret[WEBHOOK_SIGNATURE_SIZE]);

#endif
