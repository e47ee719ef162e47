/* Regular expressions of clients, under bounds. */
#include "service/vm/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "service/base/str.h"

#define MATCH_LIMIT 50000 /* steps of one search: a few milliseconds */
#define DEPTH_LIMIT 1000
#define HEAP_KIB    256
#define NEST_LIMIT  32

struct pattern {
    pcre2_code *code;
    pcre2_match_context *context;
    pcre2_match_data *data;
};

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_code_free(p->code);
    free(p);
}

static void *need(void *p)
{
    if (!p)
        abort();
    return p;
}

static pcre2_code *compile(const char *text, int *ret_code, size_t *ret_at)
{
    pcre2_compile_context *context = need(pcre2_compile_context_create(NULL));
    pcre2_code *code;

    pcre2_set_parens_nest_limit(context, NEST_LIMIT);
    code = pcre2_compile((PCRE2_SPTR)text, strlen(text),
                         PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS, ret_code,
                         ret_at, context);
    pcre2_compile_context_free(context);
    return code;
}

int pattern_new(const char *text, const char *pointer, struct pattern **ret, struct error *err)
{
    auto_pattern struct pattern *p = xcalloc(1, sizeof(*p));
    char why[128] = "";
    size_t at = 0;
    int code = 0;

    if (!*text || strlen(text) > PATTERN_TEXT_MAX)
        return error_set_at(err, ERROR_INVALID_ARGUMENT, pointer,
                            "%s must be a regular expression of 1 to %d bytes", pointer,
                            PATTERN_TEXT_MAX);
    p->code = compile(text, &code, &at);
    if (!p->code) {
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        return error_set_at(err, ERROR_INVALID_ARGUMENT, pointer,
                            "%s is no regular expression: %s, after %zu bytes", pointer, why, at);
    }
    p->context = need(pcre2_match_context_create(NULL));
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_depth_limit(p->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->context, HEAP_KIB);
    p->data = need(pcre2_match_data_create(1, NULL));
    *ret = TAKE_PTR(p);
    return 0;
}

int pattern_find(struct pattern *p, const char *data, size_t len, struct error *err)
{
    int rc = pcre2_match(p->code, (PCRE2_SPTR)data, len, 0, 0, p->data, p->context);

    if (rc >= 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    error_set_at(err, ERROR_INVALID_ARGUMENT, "pattern",
                 "the expression takes too much work on what the console printed");
    error_remedy(err, "Write it without nested repetitions.");
    return -1;
}
