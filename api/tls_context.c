/*
 * What clients and we agree to: TLS 1.2 or later, forward secrecy, HTTP/1.1 and nothing else, and a
 * certificate of the client's when somebody vouches for it.
 */
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

#include "api/tls_internal.h"
#include "service/base/cleanup.h"
#include "service/base/str.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Without the host's openssl.cnf: what it could name (engines, other providers) is not for this. */
static void init(void)
{
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
        out_of_memory();
}

/* The last thing OpenSSL said, and nothing left over for whoever asks next. */
static int fail(struct error *err, const char *setting, const char *what, const char *path)
{
    char reason[160] = "";
    unsigned long code = ERR_peek_last_error();

    if (code)
        ERR_error_string_n(code, reason, sizeof(reason));
    ERR_clear_error();
    error_set_at(err, ERROR_CONFIG, setting, "%s %s: %s", what, path, reason);
    return -1;
}

/* RFC 7301: who offers protocols, but not ours, is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned int in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, ours, sizeof(ours) - 1, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static int take_clients(SSL_CTX *ctx, const char *ca, struct error *err)
{
    STACK_OF(X509_NAME) * names;

    if (!*ca)
        return 0;
    names = SSL_load_client_CA_file(ca);
    if (!names || SSL_CTX_load_verify_file(ctx, ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(err, "tls_client_ca", "cannot use", ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    /* One that is shown must be good; none is a client with a token. */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
    /* A resumed session would skip the question whether the certificate still stands. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    return 0;
}

static SSL_CTX *new_context(void)
{
    SSL_CTX *ctx;

    pthread_once(&once, init);
    ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        out_of_memory();
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    /* All are good: the one that takes the least of a processor comes first. Who has no AES in his says so himself. */
    if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                      "TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                     "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        out_of_memory(); /* all of these are known */
    SSL_CTX_set_read_ahead(ctx, 1); /* a record with one call, not two */
    SSL_CTX_set_num_tickets(ctx, 0); /* tls_conn.c makes one */
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    return ctx;
}

int tls_context_new(const char *certificate, const char *key, const char *client_ca, SSL_CTX **ret,
                    struct error *err)
{
    SSL_CTX *ctx = new_context();
    int rc = -1;

    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        fail(err, "tls_certificate", "cannot use", certificate);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        fail(err, "tls_key", "cannot use", key);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        fail(err, "tls_key", "is not that of the certificate:", key);
    else
        rc = take_clients(ctx, client_ca, err);
    if (rc == 0)
        *ret = ctx;
    else
        SSL_CTX_free(ctx);
    return rc;
}

void tls_peer_name(SSL *ssl, char ret[TLS_NAME])
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;
    int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
    unsigned char *text = NULL;
    int len = -1;

    *ret = '\0';
    if (at >= 0)
        len =
            ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    /* One with a NUL in it, or of any length, is nobody's; but it is not none either. */
    if (x)
        memcpy(ret, "?", 2);
    if (len > 0 && len < TLS_NAME && !memchr(text, 0, (size_t)len)) {
        memcpy(ret, text, (size_t)len);
        ret[len] = '\0';
    }
    OPENSSL_free(text);
    X509_free(x);
}
