/*
 * The error value: what a failure says to the client (code, detail, pointer, remedy) and to the
 * log (cause). The caller owns it on its stack; reporting a failure cannot itself fail.
 *
 * Any thread. Functions that can fail take `struct error *err` last, never NULL, and return -1
 * with it filled; on success it is untouched.
 */
#ifndef DROVER_BASE_ERROR_H
#define DROVER_BASE_ERROR_H

#include <stdbool.h>
#include <stdint.h>

enum error_code {
#define E(sym, slug, status, title, retry) ERROR_##sym,
#include "service/base/errors.def"
#undef E
    ERROR_COUNT
};

/* The arithmetic of QUOTA_EXCEEDED; names are constants. */
struct error_quota {
    const char *resource; /* "vms", …; NULL: this error is of another kind */
    const char *scope;    /* "project", "token", "holder" */
    int64_t limit, used, requested;
};

struct error {
    enum error_code code;
    char detail[256];  /* this occurrence, in words the client may read */
    char pointer[128]; /* JSON pointer or parameter name at fault, or "" */
    char remedy[256];  /* what the client can do about it, or "" */
    char cause[256];   /* what the library said; logs only, never sent */
    struct error_quota quota;
};

#define ERROR_INIT ((struct error){0})

/* All setters overwrite *err, cut text on a UTF-8 boundary, and return -1. */
int error_set(struct error *err, enum error_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int error_set_at(struct error *err, enum error_code code, const char *pointer, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* As error_set, and records strerror(errnum) in cause. ENOSPC and EDQUOT become INSUFFICIENT_STORAGE. */
int error_errno(struct error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds to an error already set. */
void error_remedy(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void error_cause(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "text: " before the cause: what was being attempted. */
void error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *error_slug(enum error_code code);
const char *error_title(enum error_code code);
int error_status(enum error_code code); /* HTTP status */
bool error_retry(enum error_code code); /* may the client send the same again */
/* ERROR_COUNT when there is no such slug. */
enum error_code error_from_slug(const char *slug);

#endif
