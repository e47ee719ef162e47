/* See webhook_form.h. */
#include "service/vm/webhook_form.h"

#include <stdio.h>
#include <string.h>

#include "service/base/str.h"

#define KEY_MIN 24
#define KEY_MAX 64
#define KEY_NEW 32

static bool is_word(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!(text[i] >= 'a' && text[i] <= 'z') && text[i] != '-' && text[i] != '_')
            return false;
    }
    return len > 0;
}

bool webhook_pattern_ok(const char *pattern)
{
    size_t len = strlen(pattern), at = 0;

    if (len > WEBHOOK_PATTERN_MAX)
        return false;
    if (strcmp(pattern, "*") == 0)
        return true;
    for (;;) {
        size_t word = strcspn(pattern + at, ".");

        if (at && strcmp(pattern + at, "*") == 0)
            return true;
        if (!is_word(pattern + at, word))
            return false;
        at += word;
        if (!pattern[at])
            return true;
        at++;
    }
}

static bool matches(const char *pattern, size_t len, const char *type)
{
    if (len == 1 && pattern[0] == '*')
        return true;
    if (len > 2 && pattern[len - 1] == '*')
        return strncmp(type, pattern, len - 1) == 0 && type[len - 1];
    return strlen(type) == len && memcmp(type, pattern, len) == 0;
}

bool webhook_matches(const char *patterns, const char *type)
{
    while (*patterns) {
        size_t len = strcspn(patterns, " ");

        if (matches(patterns, len, type))
            return true;
        patterns += len + (patterns[len] == ' ');
    }
    return false;
}

/* NULL: not a good one; the caller frees. */
static unsigned char *key_of(const char *secret, size_t *ret_len)
{
    auto_free unsigned char *key = NULL;

    if (strlen(secret) >= WEBHOOK_SECRET_MAX || !str_starts(secret, WEBHOOK_SECRET_PREFIX))
        return NULL;
    key = secret_from_base64(secret + strlen(WEBHOOK_SECRET_PREFIX), ret_len);
    if (!key || *ret_len < KEY_MIN || *ret_len > KEY_MAX)
        return NULL;
    return TAKE_PTR(key);
}

bool webhook_secret_ok(const char *secret)
{
    size_t len;
    auto_free unsigned char *key = key_of(secret, &len);

    return key;
}

void webhook_secret_new(char ret[WEBHOOK_SECRET_MAX])
{
    unsigned char key[KEY_NEW];
    auto_free char *text = NULL;

    secret_random(key, sizeof(key));
    text = secret_to_base64(key, sizeof(key));
    snprintf(ret, WEBHOOK_SECRET_MAX, "%s%s", WEBHOOK_SECRET_PREFIX, text);
    explicit_bzero(key, sizeof(key));
}

void webhook_sign(const char *secret, const char *id, int64_t timestamp_s, const char *body,
                  size_t len, char ret[WEBHOOK_SIGNATURE_SIZE])
{
    auto_strbuf struct strbuf content = {0};
    unsigned char mac[SECRET_SHA256_SIZE];
    auto_free char *text = NULL;
    size_t key_len = 0;
    auto_free unsigned char *key = key_of(secret, &key_len);

    strbuf_addf(&content, "%s.%lld.", id, (long long)timestamp_s);
    strbuf_add(&content, body, len);
    secret_hmac_sha256(key, key ? key_len : 0, content.data, content.len, mac);
    text = secret_to_base64(mac, sizeof(mac));
    snprintf(ret, WEBHOOK_SIGNATURE_SIZE, "v1,%s", text);
}
