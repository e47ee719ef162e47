/*
 * Why a command failed, in the words the server or this program chose, and the exit code that
 * scripts see. The client's counterpart of struct error: it can carry a problem whose kind this
 * version does not know.
 */
#ifndef DROVER_CLI_FAILURE_H
#define DROVER_CLI_FAILURE_H

#include <stdbool.h>
#include <stdio.h>

#include "service/base/error.h"

/* Documented in `drover help` and the man page; never renumber. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,   /* the server tried and failed, or refused the content; diff: something differs */
    CLI_USAGE = 2,    /* the command line, or a file it names, is wrong */
    CLI_CONNECT = 3,  /* no server answered */
    CLI_NOT_FOUND = 4,
    CLI_CONFLICT = 5, /* the object's state or version forbids it */
    CLI_AUTH = 6,     /* not signed in, or not allowed */
    CLI_TIMEOUT = 7,
    CLI_RUN = 125, /* `run`: not the command failed, but all else */
};

struct failure {
    enum cli_exit exit;
    char title[160];
    char detail[512];
    char pointer[160];
    char remedy[512];
    char request_id[80];
    char code[64]; /* the problem's slug, or "" */
};

/* Both set every member and return -1, so that a failing line is one `return`. */
int failure_set(struct failure *fail, enum cli_exit exit_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int failure_errno(struct failure *fail, enum cli_exit exit_code, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* From an error of service/base (files); always CLI_FAILED. */
int failure_from_error(struct failure *fail, const struct error *err);
void failure_remedy(struct failure *fail, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The exit code for an HTTP status of 400 and above. */
enum cli_exit failure_exit_for_status(int status);

/* "drover: title: detail" and what can be done about it, for a person. */
void failure_print(const struct failure *fail, FILE *out);

#endif
