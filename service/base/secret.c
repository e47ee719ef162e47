/* Random numbers, hashes, tokens and ids. */
#include "service/base/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "service/base/hash.h"
#include "service/base/str.h"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

void secret_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                        uint8_t ret[SECRET_SHA256_SIZE])
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, data, len);
    crypto_auth_hmacsha256_final(&state, ret);
    sodium_memzero(&state, sizeof(state));
}

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

/* A range test and no table: nothing about the secret's bytes shows in what is loaded when. */
static bool is_base62(unsigned char c)
{
    return (unsigned char)(c - '0') < 10 || (unsigned char)((c | 0x20) - 'a') < 26;
}

/*
 * CRC-32 as in IEEE 802.3, written as six base62 digits, most significant first. Half a byte at a
 * time: a table of 16 words is one cache line, so that the secret's bytes do not show in what is
 * loaded when.
 */
static void crc_text(const char *data, size_t len, char ret[6])
{
    static const uint32_t table[16] __attribute__((aligned(64))) = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
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

bool secret_token_id(const char *token, char ret_id[SECRET_TOKEN_ID])
{
    if (strlen(token) != SECRET_TOKEN_TEXT - 1 || !str_starts(token, "drover_") || token[19] != '_')
        return false;
    for (size_t i = 7; i < SECRET_TOKEN_TEXT - 1; i++) {
        if (i != 19 && !is_base62((unsigned char)token[i]))
            return false;
    }
    memcpy(ret_id, token + 7, 12);
    ret_id[12] = '\0';
    return true;
}

bool secret_token_parse(const char *token, char ret_id[SECRET_TOKEN_ID])
{
    char id[SECRET_TOKEN_ID], crc[6];

    if (!secret_token_id(token, id))
        return false;
    crc_text(token, 52, crc);
    if (memcmp(crc, token + 52, 6) != 0)
        return false;
    memcpy(ret_id, id, sizeof(id));
    return true;
}

void secret_sha256(const void *data, size_t len, uint8_t ret[SECRET_SHA256_SIZE])
{
    hash_sha256(data, len, ret);
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

unsigned char *secret_from_base64(const char *text, size_t *ret_len)
{
    size_t len = strlen(text);
    unsigned char *bin = xcalloc(len + 1, 1);

    if (sodium_base642bin(bin, len, text, len, NULL, ret_len, NULL, sodium_base64_VARIANT_ORIGINAL) == 0)
        return bin;
    free(bin);
    return NULL;
}

char *secret_to_base64(const void *data, size_t len)
{
    size_t size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
    char *text = xcalloc(size, 1);

    return sodium_bin2base64(text, size, data, len, sodium_base64_VARIANT_ORIGINAL);
}

/* Exactly so many bytes. */
static bool from_base64(const char *text, unsigned char *ret, size_t size)
{
    size_t len = strcspn(text, "\r\n"), got;

    return strspn(text + len, "\r\n") == strlen(text + len) &&
           sodium_base642bin(ret, size, text, len, NULL, &got, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 && got == size;
}

void secret_sign_keys(char ret_public[SECRET_SIGN_PUBLIC], char ret_secret[SECRET_SIGN_SECRET])
{
    unsigned char pk[crypto_sign_PUBLICKEYBYTES], sk[crypto_sign_SECRETKEYBYTES];

    crypto_sign_keypair(pk, sk);
    sodium_bin2base64(ret_public, SECRET_SIGN_PUBLIC, pk, sizeof(pk), sodium_base64_VARIANT_ORIGINAL);
    sodium_bin2base64(ret_secret, SECRET_SIGN_SECRET, sk, sizeof(sk), sodium_base64_VARIANT_ORIGINAL);
    sodium_memzero(sk, sizeof(sk));
}

bool secret_sign(const char *secret_key, const void *data, size_t len, char ret[SECRET_SIGNATURE])
{
    unsigned char sk[crypto_sign_SECRETKEYBYTES], sig[crypto_sign_BYTES];

    if (!from_base64(secret_key, sk, sizeof(sk)))
        return false;
    crypto_sign_detached(sig, NULL, data, len, sk);
    sodium_memzero(sk, sizeof(sk));
    sodium_bin2base64(ret, SECRET_SIGNATURE, sig, sizeof(sig), sodium_base64_VARIANT_ORIGINAL);
    return true;
}

bool secret_sign_key_ok(const char *public_key)
{
    unsigned char pk[crypto_sign_PUBLICKEYBYTES];

    return from_base64(public_key, pk, sizeof(pk));
}

bool secret_sign_check(const char *public_key, const char *signature, const void *data, size_t len)
{
    unsigned char pk[crypto_sign_PUBLICKEYBYTES], sig[crypto_sign_BYTES];

    return from_base64(public_key, pk, sizeof(pk)) && from_base64(signature, sig, sizeof(sig)) &&
           crypto_sign_verify_detached(sig, data, len, pk) == 0;
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
