/*
 * JSON from clients. Bounds are enforced by a scan over the text before jansson sees it: a parser
 * that has already allocated cannot be told to stop (1 MiB of "{},{}," costs jansson 77 MiB).
 */
#include "service/json/doc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

void doc_init(void)
{
    json_set_alloc_funcs(xmalloc, free);
}

/* Depth and number of values, without building anything; strings are skipped over. */
static int scan(const char *text, size_t len, const struct doc_limits *limits, struct error *err)
{
    size_t depth = 0, tokens = 1;

    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '"':
            for (i++; i < len && text[i] != '"'; i++) {
                if (text[i] == '\\')
                    i++;
            }
            break;
        case '{':
        case '[':
            if (++depth > limits->depth)
                return error_set(err, ERROR_MALFORMED_BODY, "the body nests deeper than %zu levels",
                                 limits->depth);
            tokens++;
            break;
        case '}':
        case ']':
            if (depth)
                depth--;
            break;
        case ',':
        case ':':
            tokens++;
            break;
        case '\0':
            return error_set(err, ERROR_MALFORMED_BODY, "the body contains a NUL byte");
        }
        if (tokens > limits->tokens)
            return error_set(err, ERROR_MALFORMED_BODY, "the body holds more than %zu values",
                             limits->tokens);
    }
    return 0;
}

int doc_parse(const char *text, size_t len, const struct doc_limits *limits, json_t **ret,
              struct error *err)
{
    json_error_t where;
    json_t *value;

    if (len > limits->bytes)
        return error_set(err, ERROR_BODY_TOO_LARGE, "the body may have at most %zu bytes",
                         limits->bytes);
    if (scan(text, len, limits, err))
        return -1;
    value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!value) {
        enum json_error_code code = json_error_code(&where);

        if (code == json_error_duplicate_key)
            return error_set(err, ERROR_MALFORMED_BODY, "line %d has the same member twice",
                             where.line);
        return error_set(err, ERROR_MALFORMED_BODY, "line %d, column %d: %s", where.line,
                         where.column, where.text);
    }
    *ret = value;
    return 0;
}

void doc_pointer(char *ret, size_t size, const char *base, const char *member)
{
    char buf[512];
    size_t n = 0;

    for (const char *p = base; *p && n < sizeof(buf) - 4; p++)
        buf[n++] = *p;
    buf[n++] = '/';
    for (const char *p = member; *p && n < sizeof(buf) - 3; p++) {
        if (*p == '~' || *p == '/') {
            buf[n++] = '~';
            buf[n++] = *p == '~' ? '0' : '1';
        } else {
            buf[n++] = *p;
        }
    }
    buf[n] = '\0';
    str_copy_utf8(ret, size, buf);
}

static int wrong(const char *pointer, const char *what, struct error *err)
{
    return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be %s", what);
}

static int decode_string(const json_t *value, const struct doc_field *f, const char *pointer,
                         void *place, struct error *err)
{
    const char *text = json_string_value(value);

    if (!text)
        return wrong(pointer, "a string", err);
    if ((int64_t)json_string_length(value) < f->min || (int64_t)json_string_length(value) > f->max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must have %lld to %lld bytes", (long long)f->min, (long long)f->max);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        /* No control characters but tab and newline: they have no place in XML or a log. */
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                                "must not contain control characters");
    }
    if (f->valid && !f->valid(text))
        return wrong(pointer, f->form, err);
    str_replace(place, text);
    return 0;
}

static int decode_enum(const json_t *value, const struct doc_field *f, const char *pointer,
                       int *place, struct error *err)
{
    const char *text = json_string_value(value);
    auto_strbuf struct strbuf list = {0};

    for (int i = 0; text && f->choices[i]; i++) {
        if (strcmp(text, f->choices[i]) == 0) {
            *place = i;
            return 0;
        }
    }
    for (int i = 0; f->choices[i]; i++)
        strbuf_addf(&list, "%s%s", i ? ", " : "", f->choices[i]);
    return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be one of: %s", list.data);
}

static int decode_one(const json_t *value, const struct doc_field *f, const char *pointer,
                      void *place, struct error *err)
{
    switch (f->kind) {
    case DOC_STRING:
        return decode_string(value, f, pointer, place, err);
    case DOC_INT:
        if (!json_is_integer(value))
            return wrong(pointer, "a whole number", err);
        if (json_integer_value(value) < f->min || json_integer_value(value) > f->max)
            return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                                "must be from %lld to %lld", (long long)f->min,
                                (long long)f->max);
        *(int64_t *)place = json_integer_value(value);
        return 0;
    case DOC_BOOL:
        if (!json_is_boolean(value))
            return wrong(pointer, "true or false", err);
        *(bool *)place = json_is_true(value);
        return 0;
    case DOC_ENUM:
        return decode_enum(value, f, pointer, place, err);
    case DOC_CUSTOM:
        return f->decode(value, pointer, place, err);
    }
    abort();
}

static const struct doc_field *find(const struct doc_field *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    }
    return NULL;
}

/* A member's place is written out only where somebody may ask for it: most documents are right. */
static int decode_member(const char *name, const json_t *value, const char *base,
                         const struct doc_field *f, void *out, struct error *err)
{
    char pointer[sizeof(err->pointer)];

    if (f && json_is_null(value) && f->nullable)
        return 0;
    if (f && f->kind != DOC_CUSTOM && decode_one(value, f, "", (char *)out + f->offset, err) == 0)
        return 0;
    doc_pointer(pointer, sizeof(pointer), base, name);
    if (!f)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "is not a member that exists here");
    if (f->kind == DOC_CUSTOM)
        return decode_one(value, f, pointer, (char *)out + f->offset, err);
    memcpy(err->pointer, pointer, sizeof(pointer));
    return -1;
}

int doc_decode(const json_t *object, const char *base, const struct doc_field *fields, size_t count,
               void *out, struct error *err)
{
    char pointer[sizeof(err->pointer)];
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return wrong(base, "an object", err);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (decode_member(name, value, base, find(fields, count, name), out, err))
            return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].required)
            continue;
        value = json_object_get(object, fields[i].name);
        if (!value || json_is_null(value)) {
            doc_pointer(pointer, sizeof(pointer), base, fields[i].name);
            return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "is required");
        }
    }
    return 0;
}

json_t *doc_merge_patch(const json_t *target, const json_t *patch)
{
    const char *name;
    json_t *value, *result;

    if (!json_is_object(patch))
        return json_deep_copy(patch);
    result = json_is_object(target) ? json_deep_copy(target) : json_object();
    if (!result)
        out_of_memory();
    json_object_foreach((json_t *)(uintptr_t)patch, name, value)
    {
        if (json_is_null(value))
            json_object_del(result, name);
        else if (json_object_set_new(result, name,
                                     doc_merge_patch(json_object_get(result, name), value)))
            out_of_memory();
    }
    return result;
}

char *doc_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    if (!text)
        out_of_memory();
    return text;
}

void doc_add_string(struct strbuf *b, const char *text)
{
    static const char short_names[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    bool utf8 = str_is_utf8(text, strlen(text));
    const char *plain = text; /* what has not been added yet */

    strbuf_addc(b, '"');
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || utf8))
            continue;
        strbuf_add(b, plain, (size_t)(p - plain));
        plain = p + 1;
        if (c == '"' || c == '\\' || (c < 0x20 && short_names[c])) {
            strbuf_addc(b, '\\');
            strbuf_addc(b, c < 0x20 ? short_names[c] : (char)c);
        } else {
            strbuf_addf(b, "\\u%04x", c < 0x20 ? c : 0xfffd);
        }
    }
    strbuf_adds(b, plain);
    strbuf_addc(b, '"');
}

static void add_name(struct strbuf *b, const char *name)
{
    strbuf_adds(b, ",\"");
    strbuf_adds(b, name);
    strbuf_adds(b, "\":");
}

void doc_add_text(struct strbuf *b, const char *name, const char *value)
{
    add_name(b, name);
    if (value)
        doc_add_string(b, value);
    else
        strbuf_adds(b, "null");
}

void doc_add_int(struct strbuf *b, const char *name, int64_t value)
{
    add_name(b, name);
    strbuf_addf(b, "%lld", (long long)value);
}

void doc_add_bool(struct strbuf *b, const char *name, bool value)
{
    add_name(b, name);
    strbuf_adds(b, value ? "true" : "false");
}
