/*
 * Regular expressions of clients (PCRE2), under bounds: neither compiling nor matching can take
 * long, whatever the expression and whatever a guest prints.
 */
#ifndef DROVER_VM_PATTERN_H
#define DROVER_VM_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"

#define PATTERN_TEXT_MAX 512

struct pattern;

/* INVALID_ARGUMENT with the pointer given says where it is wrong. */
int pattern_new(const char *text, const char *pointer, struct pattern **ret, struct error *err);
void pattern_free(struct pattern *p);
/* 1: somewhere in it, 0: nowhere, -1: INVALID_ARGUMENT, it cannot be decided with so little work. */
int pattern_find(struct pattern *p, const char *data, size_t len, struct error *err);
DEFINE_CLEANUP(pattern, struct pattern *, pattern_free);
#define auto_pattern auto_scope(cleanup_pattern)

#endif
