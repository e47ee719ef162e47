/*
 * Random numbers, hashes, tokens and ids (libsodium, libuuid). Any thread after secret_init().
 *
 * A token reads drover_ID_SECRETCRC: a 12-character id (not secret, stored and logged), 32 base62
 * characters of secret (190 bits) and 6 characters of CRC-32, so that scanners recognise a leaked
 * one without asking us. Only the SHA-256 of the whole text is stored.
 */
#ifndef DROVER_BASE_SECRET_H
#define DROVER_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECRET_SHA256_SIZE  32
#define SECRET_SHA256_TEXT  65 /* lower-case hex and NUL */
#define SECRET_TOKEN_ID     13 /* and NUL */
#define SECRET_TOKEN_TEXT   (7 + 12 + 1 + 32 + 6 + 1)
#define SECRET_RANDOM_TEXT  33 /* 32 base62 characters and NUL */
#define UUID_TEXT           37

void secret_init(void); /* once, before threads; aborts when the system has no entropy */

void secret_random(void *buf, size_t len);
void secret_random_text(char ret[SECRET_RANDOM_TEXT]);
void secret_token_new(char ret_token[SECRET_TOKEN_TEXT], char ret_id[SECRET_TOKEN_ID]);
/*
 * Form only; says nothing about whether it is known. Fills the id. The CRC is for those who find a
 * token and ask what it is; who compares the hash of the whole need not look at it.
 */
bool secret_token_id(const char *token, char ret_id[SECRET_TOKEN_ID]);
/* The same, and the CRC. */
bool secret_token_parse(const char *token, char ret_id[SECRET_TOKEN_ID]);

void secret_sha256(const void *data, size_t len, uint8_t ret[SECRET_SHA256_SIZE]);
void secret_sha256_text(const void *data, size_t len, char ret[SECRET_SHA256_TEXT]);

void secret_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                        uint8_t ret[SECRET_SHA256_SIZE]);

#define SECRET_SHA512_TEXT 129

/* NULL when it is not base64; caller frees. */
unsigned char *secret_from_base64(const char *text, size_t *ret_len);
char *secret_to_base64(const void *data, size_t len); /* caller frees */
/* Ed25519, keys and signatures as base64 text. */
#define SECRET_SIGN_PUBLIC 45    /* and NUL */
#define SECRET_SIGN_SECRET 89
#define SECRET_SIGNATURE   89
void secret_sign_keys(char ret_public[SECRET_SIGN_PUBLIC], char ret_secret[SECRET_SIGN_SECRET]);
bool secret_sign(const char *secret_key, const void *data, size_t len, char ret[SECRET_SIGNATURE]);
bool secret_sign_check(const char *public_key, const char *signature, const void *data, size_t len);
bool secret_sign_key_ok(const char *public_key);

void uuid_new(char ret[UUID_TEXT]); /* version 4, lower case */
bool uuid_is_valid(const char *text);
/* A locally administered MAC (02:…) drawn at random, "02:xx:xx:xx:xx:xx". */
void mac_new(char ret[18]);

#endif
