/*
 * YAML through libyaml's events. Strings that any version of YAML would read as something else are
 * quoted; text of several lines is written as lines, so that a diff of it can be read.
 */
#include "service/cli/yamldoc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "service/base/str.h"

/* ---- writing ---- */

/* Read as a boolean or null by YAML 1.1, 1.2 or both; case does not count. */
static const char *const reserved[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};

static bool is_plain(const char *text, size_t len)
{
    if (len == 0 || strchr("0123456789+-.~<=", *text))
        return false;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcasecmp(text, reserved[i]) == 0)
            return false;
    }
    return true;
}

static yaml_scalar_style_t style_of(const char *text, size_t len)
{
    /* Other line breaks than this one are not the same to every reader. */
    if (memchr(text, '\r', len) || strstr(text, "\u2028") || strstr(text, "\u2029"))
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (memchr(text, '\n', len))
        return YAML_LITERAL_SCALAR_STYLE;
    return is_plain(text, len) ? YAML_PLAIN_SCALAR_STYLE : YAML_SINGLE_QUOTED_SCALAR_STYLE;
}

static bool put_scalar(yaml_emitter_t *e, const char *text, size_t len, yaml_scalar_style_t style)
{
    yaml_event_t event;

    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)len, 1, 1,
                                        style) &&
           yaml_emitter_emit(e, &event);
}

static bool put_text(yaml_emitter_t *e, const char *text, size_t len)
{
    return put_scalar(e, text, len, style_of(text, len));
}

/* The shortest form that reads back as the same number, and as no integer. */
static bool put_real(yaml_emitter_t *e, double value)
{
    auto_free char *text = NULL;
    char digits[40];

    for (int count = 15; count <= 17; count++) {
        snprintf(digits, sizeof(digits), "%.*g", count, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    text = xasprintf("%s%s", digits, strpbrk(digits, ".e") ? "" : ".0");
    return put_scalar(e, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
}

static bool put(yaml_emitter_t *e, const json_t *value);

static bool put_list(yaml_emitter_t *e, const json_t *list)
{
    yaml_event_t event;
    size_t i;
    json_t *element;
    yaml_sequence_style_t style =
        json_array_size(list) ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE;

    if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style) || !yaml_emitter_emit(e, &event))
        return false;
    json_array_foreach((json_t *)(uintptr_t)list, i, element) {
        if (!put(e, element))
            return false;
    }
    return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static bool put_object(yaml_emitter_t *e, const json_t *object)
{
    yaml_event_t event;
    const char *name;
    json_t *member;
    yaml_mapping_style_t style =
        json_object_size(object) ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE;

    if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style) || !yaml_emitter_emit(e, &event))
        return false;
    json_object_foreach((json_t *)(uintptr_t)object, name, member) {
        /* A key on several lines would be read by few. */
        yaml_scalar_style_t key = style_of(name, strlen(name));

        if (!put_scalar(e, name, strlen(name),
                        key == YAML_LITERAL_SCALAR_STYLE ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : key) ||
            !put(e, member))
            return false;
    }
    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static bool put(yaml_emitter_t *e, const json_t *value)
{
    auto_free char *text = NULL;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return put_object(e, value);
    case JSON_ARRAY:
        return put_list(e, value);
    case JSON_STRING:
        return put_text(e, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        text = xasprintf("%lld", (long long)json_integer_value(value));
        return put_scalar(e, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
    case JSON_REAL:
        return put_real(e, json_real_value(value));
    case JSON_TRUE:
        return put_scalar(e, "true", 4, YAML_PLAIN_SCALAR_STYLE);
    case JSON_FALSE:
        return put_scalar(e, "false", 5, YAML_PLAIN_SCALAR_STYLE);
    case JSON_NULL:
        break;
    }
    return put_scalar(e, "null", 4, YAML_PLAIN_SCALAR_STYLE);
}

static bool put_document(yaml_emitter_t *e, const json_t *value, bool separator)
{
    yaml_event_t event;

    return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) && yaml_emitter_emit(e, &event) &&
           yaml_document_start_event_initialize(&event, NULL, NULL, NULL, !separator) &&
           yaml_emitter_emit(e, &event) && put(e, value) && yaml_document_end_event_initialize(&event, 1) &&
           yaml_emitter_emit(e, &event) && yaml_stream_end_event_initialize(&event) &&
           yaml_emitter_emit(e, &event);
}

static int to_file(void *opaque, unsigned char *data, size_t len)
{
    return fwrite(data, 1, len, opaque) == len;
}

bool yamldoc_write(const json_t *value, bool separator, FILE *out)
{
    yaml_emitter_t e;
    bool done;

    if (!yaml_emitter_initialize(&e))
        abort();
    yaml_emitter_set_output(&e, to_file, out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    done = put_document(&e, value, separator);
    yaml_emitter_delete(&e);
    return done;
}

/* ---- reading ---- */

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct failure *fail;
};

/* NULL, so that a failing line is one return. */
static json_t *refuse(struct reader *r, const yaml_mark_t *at, const char *why)
{
    failure_set(r->fail, CLI_USAGE, "%s, line %zu: %s", r->name, at->line + 1, why);
    return NULL;
}

static bool next(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return true;
    (void)refuse(r, r->parser.problem_mark.line ? &r->parser.problem_mark : &r->parser.mark,
                 r->parser.problem ? r->parser.problem : "it cannot be read");
    *ret = (yaml_event_t){0};
    return false;
}

static bool is_integer(const char *text)
{
    const char *digits = text + (*text == '-' || *text == '+');

    return *digits && digits[strspn(digits, "0123456789")] == '\0' && (*digits != '0' || !digits[1]);
}

static bool is_real(const char *text)
{
    const char *p = text + (*text == '-' || *text == '+');
    size_t before = strspn(p, "0123456789"), after = 0;

    if (before > 1 && *p == '0')
        return false;
    p += before;
    if (*p == '.') {
        after = strspn(p + 1, "0123456789");
        p += 1 + after;
    }
    if (before + after == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        if (!*p || p[strspn(p, "0123456789")])
            return false;
        return true;
    }
    return !*p && after;
}

static json_t *number(struct reader *r, const yaml_event_t *e, const char *text)
{
    json_t *value;
    char *end;

    if (is_integer(text)) {
        long long v;

        errno = 0;
        v = strtoll(text, &end, 10);
        return errno ? refuse(r, &e->start_mark, "the number is too large") : json_integer(v);
    }
    value = json_real(strtod(text, &end)); /* NULL for what is infinite */
    return value ? value : refuse(r, &e->start_mark, "the number is too large");
}

static json_t *scalar(struct reader *r, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value, *tag = (const char *)e->data.scalar.tag;
    size_t len = e->data.scalar.length;
    json_t *value;

    if (tag && !str_eq(tag, YAML_STR_TAG) && !str_eq(tag, "!"))
        return refuse(r, &e->start_mark, "tags are not read here");
    if (!tag && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strlen(text) == len) {
        static const char *const nothing[] = {"", "~", "null", "Null", "NULL"};
        static const char *const yes[] = {"true", "True", "TRUE"}, *const no[] = {"false", "False", "FALSE"};

        for (size_t i = 0; i < 5; i++) {
            if (str_eq(text, nothing[i]))
                return json_null();
        }
        for (size_t i = 0; i < 3; i++) {
            if (str_eq(text, yes[i]) || str_eq(text, no[i]))
                return json_boolean(str_eq(text, yes[i]));
        }
        if (is_integer(text) || is_real(text))
            return number(r, e, text);
    }
    value = json_stringn(text, len);
    return value ? value : refuse(r, &e->start_mark, "the text is not UTF-8");
}

static json_t *build(struct reader *r, const yaml_event_t *e, unsigned depth);

static json_t *list(struct reader *r, unsigned depth)
{
    auto_value json_t *all = json_array();

    for (;;) {
        yaml_event_t e;
        json_t *element = NULL;
        bool end;

        if (!next(r, &e))
            return NULL;
        end = e.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            element = build(r, &e, depth);
        yaml_event_delete(&e);
        if (end)
            return TAKE_PTR(all);
        if (!element)
            return NULL;
        json_array_append_new(all, element);
    }
}

/* The member whose key is e; false after a refusal. */
static bool member(struct reader *r, const yaml_event_t *key, json_t *object, unsigned depth)
{
    yaml_event_t e;
    json_t *value;
    const char *name = (const char *)key->data.scalar.value;

    if (key->type != YAML_SCALAR_EVENT || strlen(name) != key->data.scalar.length)
        return refuse(r, &key->start_mark, "a key must be text"), false;
    if (json_object_get(object, name))
        return refuse(r, &key->start_mark, "the key comes twice"), false;
    if (!next(r, &e))
        return false;
    value = build(r, &e, depth);
    yaml_event_delete(&e);
    if (value && json_object_set_new(object, name, value))
        return refuse(r, &key->start_mark, "the text is not UTF-8"), false;
    return value;
}

static json_t *object(struct reader *r, unsigned depth)
{
    auto_value json_t *all = json_object();

    for (;;) {
        yaml_event_t e;
        bool end, good = true;

        if (!next(r, &e))
            return NULL;
        end = e.type == YAML_MAPPING_END_EVENT;
        if (!end)
            good = member(r, &e, all, depth);
        yaml_event_delete(&e);
        if (end)
            return TAKE_PTR(all);
        if (!good)
            return NULL;
    }
}

static json_t *build(struct reader *r, const yaml_event_t *e, unsigned depth)
{
    const yaml_char_t *anchor = e->type == YAML_SCALAR_EVENT           ? e->data.scalar.anchor
                                : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.anchor
                                : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.anchor
                                                                       : NULL;

    if (anchor || e->type == YAML_ALIAS_EVENT)
        return refuse(r, &e->start_mark, "anchors and aliases are not read here");
    if (depth >= YAMLDOC_DEPTH_MAX)
        return refuse(r, &e->start_mark, "it is nested too deeply");
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return e->data.sequence_start.tag ? refuse(r, &e->start_mark, "tags are not read here")
                                          : list(r, depth + 1);
    if (e->type == YAML_MAPPING_START_EVENT)
        return e->data.mapping_start.tag ? refuse(r, &e->start_mark, "tags are not read here")
                                         : object(r, depth + 1);
    return scalar(r, e);
}

static int read_yaml(struct reader *r, json_t *documents)
{
    for (;;) {
        yaml_event_t e;
        json_t *value = NULL;
        bool end, begins;

        if (!next(r, &e))
            return -1;
        end = e.type == YAML_STREAM_END_EVENT;
        begins = e.type == YAML_SCALAR_EVENT || e.type == YAML_SEQUENCE_START_EVENT ||
                 e.type == YAML_MAPPING_START_EVENT || e.type == YAML_ALIAS_EVENT;
        if (begins)
            value = build(r, &e, 0);
        yaml_event_delete(&e);
        if (end)
            return 0;
        if (begins && !value)
            return -1;
        if (json_is_null(value))
            json_decref(value);
        else if (value)
            json_array_append_new(documents, value);
    }
}

/* Whether the text is JSON documents and nothing else; they are added to documents. */
static bool read_json(const char *text, size_t len, json_t *documents)
{
    size_t at = 0;

    for (;;) {
        json_error_t error;
        json_t *value;

        while (at < len && strchr(" \t\r\n", text[at]) && text[at])
            at++;
        if (at == len)
            return true;
        value = json_loadb(text + at, len - at, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &error);
        if (!value)
            return false;
        json_array_append_new(documents, value);
        at += (size_t)error.position;
    }
}

int yamldoc_read(const char *name, const char *text, size_t len, json_t **ret, struct failure *fail)
{
    struct reader r = {.name = name, .fail = fail};
    auto_value json_t *documents = json_array();
    size_t blank = 0;
    int rc;

    while (blank < len && text[blank] && strchr(" \t\r\n", text[blank]))
        blank++;
    if (blank < len && (text[blank] == '{' || text[blank] == '[') && read_json(text, len, documents)) {
        *ret = TAKE_PTR(documents);
        return 0;
    }
    json_array_clear(documents);
    if (!yaml_parser_initialize(&r.parser))
        abort();
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    rc = read_yaml(&r, documents);
    yaml_parser_delete(&r.parser);
    if (rc)
        return -1;
    *ret = TAKE_PTR(documents);
    return 0;
}
