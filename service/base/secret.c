/* Random numbers, hashes, tokens and ids. */
#include "service/base/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "service/base/str.h"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct secret_hash {
    crypto_hash_sha256_state state;
};

void secret_init(void)
{
    if (sodium_init() < 0)
        abort();
}

void secret_random(void *buf, size_t len)
{
    randombytes_buf(buf, len);
}

static void random_base62(char *dst, size_t len)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = base62[randombytes_uniform(62)];
}

void secret_random_text(char ret[SECRET_RANDOM_TEXT])
{
    random_base62(ret, SECRET_RANDOM_TEXT - 1);
    ret[SECRET_RANDOM_TEXT - 1] = '\0';
}

/* CRC-32 as in IEEE 802.3, written as six base62 digits, most significant first. */
static void crc_text(const char *data, size_t len, char ret[6])
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320 & -(crc & 1));
    }
    crc = ~crc;
    for (int i = 5; i >= 0; i--, crc /= 62)
        ret[i] = base62[crc % 62];
}

void secret_token_new(char ret_token[SECRET_TOKEN_TEXT], char ret_id[SECRET_TOKEN_ID])
{
    char *p = ret_token;

    memcpy(p, "drover_", 7);
    random_base62(p + 7, 12);
    memcpy(ret_id, p + 7, 12);
    ret_id[12] = '\0';
    p[19] = '_';
    random_base62(p + 20, 32);
    crc_text(p, 52, p + 52);
    p[58] = '\0';
}

bool secret_token_parse(const char *token, char ret_id[SECRET_TOKEN_ID])
{
    char crc[6];

    if (strlen(token) != SECRET_TOKEN_TEXT - 1 || !str_starts(token, "drover_") || token[19] != '_')
        return false;
    for (size_t i = 7; i < SECRET_TOKEN_TEXT - 1; i++) {
        if (i != 19 && !strchr(base62, token[i]))
            return false;
    }
    crc_text(token, 52, crc);
    if (memcmp(crc, token + 52, 6) != 0)
        return false;
    memcpy(ret_id, token + 7, 12);
    ret_id[12] = '\0';
    return true;
}

void secret_sha256(const void *data, size_t len, uint8_t ret[SECRET_SHA256_SIZE])
{
    crypto_hash_sha256(ret, data, len);
}

static void to_hex(const uint8_t bin[SECRET_SHA256_SIZE], char ret[SECRET_SHA256_TEXT])
{
    sodium_bin2hex(ret, SECRET_SHA256_TEXT, bin, SECRET_SHA256_SIZE);
}

void secret_sha256_text(const void *data, size_t len, char ret[SECRET_SHA256_TEXT])
{
    uint8_t bin[SECRET_SHA256_SIZE];

    secret_sha256(data, len, bin);
    to_hex(bin, ret);
}

struct secret_hash *secret_hash_new(void)
{
    struct secret_hash *h = xcalloc(1, sizeof(*h));

    crypto_hash_sha256_init(&h->state);
    return h;
}

void secret_hash_add(struct secret_hash *h, const void *data, size_t len)
{
    crypto_hash_sha256_update(&h->state, data, len);
}

void secret_hash_finish(struct secret_hash *h, char ret[SECRET_SHA256_TEXT])
{
    uint8_t bin[SECRET_SHA256_SIZE];

    crypto_hash_sha256_final(&h->state, bin);
    to_hex(bin, ret);
}

void secret_hash_free(struct secret_hash *h)
{
    free(h);
}

void uuid_new(char ret[UUID_TEXT])
{
    uuid_t u;

    uuid_generate_random(u);
    uuid_unparse_lower(u, ret);
}

bool uuid_is_valid(const char *text)
{
    uuid_t u;

    return strlen(text) == UUID_TEXT - 1 && uuid_parse(text, u) == 0;
}

void mac_new(char ret[18])
{
    uint8_t b[5];

    secret_random(b, sizeof(b));
    snprintf(ret, 18, "02:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4]);
}
