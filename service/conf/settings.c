/*
 * Settings: the table, its parser (libinih) and nothing else. What a value means is its user's
 * business.
 */
#include "service/conf/settings.h"

#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/str.h"

#define TEXT_STRING(def) def
#define TEXT_INT(def)    #def
#define TEXT_BOOL(def)   ((def) ? "true" : "false")

static const struct settings_row rows[] = {
#define S(type, name_, def, min_, max_, reloadable_, help_)                                        \
    {.name = #name_,                                                                               \
     .kind = SETTINGS_##type,                                                                      \
     .default_text = TEXT_##type(def),                                                             \
     .min = min_,                                                                                  \
     .max = max_,                                                                                  \
     .reloadable = reloadable_,                                                                    \
     .help = help_},
#include "service/conf/settings.def"
#undef S
    {0}};

static const size_t offsets[] = {
#define S(type, name_, def, min_, max_, reloadable_, help_) offsetof(struct settings, name_),
#include "service/conf/settings.def"
#undef S
};

static void *member(const struct settings *s, size_t i)
{
    return (char *)(uintptr_t)s + offsets[i];
}

const struct settings_row *settings_rows(void)
{
    return rows;
}

static const struct settings_row *find(const char *name, size_t *ret_index)
{
    for (size_t i = 0; rows[i].name; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *ret_index = i;
            return &rows[i];
        }
    }
    return NULL;
}

static int parse_int(const struct settings_row *row, const char *value, _Atomic int64_t *ret,
                     struct error *err)
{
    uint64_t v;

    if (!str_to_u64(value, (uint64_t)row->max, &v) || (int64_t)v < row->min) {
        error_set_at(err, ERROR_CONFIG, row->name, "%s must be a whole number from %lld to %lld",
                     row->name, (long long)row->min, (long long)row->max);
        return -1;
    }
    *ret = (int64_t)v;
    return 0;
}

static int parse_bool(const struct settings_row *row, const char *value, _Atomic bool *ret,
                      struct error *err)
{
    if (str_eq(value, "true") || str_eq(value, "yes") || str_eq(value, "1"))
        *ret = true;
    else if (str_eq(value, "false") || str_eq(value, "no") || str_eq(value, "0"))
        *ret = false;
    else
        return error_set_at(err, ERROR_CONFIG, row->name, "%s must be true or false", row->name);
    return 0;
}

int settings_set(struct settings *s, const char *name, const char *value, struct error *err)
{
    size_t i = 0;
    const struct settings_row *row = find(name, &i);

    if (!row)
        return error_set_at(err, ERROR_CONFIG, name, "there is no setting called %s", name);
    switch (row->kind) {
    case SETTINGS_STRING:
        str_replace(member(s, i), value);
        return 0;
    case SETTINGS_INT:
        return parse_int(row, value, member(s, i), err);
    case SETTINGS_BOOL:
        return parse_bool(row, value, member(s, i), err);
    }
    abort();
}

struct settings *settings_new(void)
{
    struct settings *s = xcalloc(1, sizeof(*s));
    struct error err;

    for (size_t i = 0; rows[i].name; i++) {
        if (settings_set(s, rows[i].name, rows[i].default_text, &err))
            abort();
    }
    return s;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; rows[i].name; i++) {
        if (rows[i].kind == SETTINGS_STRING)
            free(*(char **)member(s, i));
    }
    free(s);
}

struct load {
    struct settings *settings;
    struct error *err;
    bool failed;
};

static int on_line(void *opaque, const char *section, const char *name, const char *value)
{
    struct load *load = opaque;

    if (*section) {
        load->failed = true;
        error_set_at(load->err, ERROR_CONFIG, section, "sections are not used: [%s]", section);
        return 0;
    }
    if (settings_set(load->settings, name, value ? value : "", load->err)) {
        load->failed = true;
        return 0;
    }
    return 1;
}

int settings_load(struct settings *s, const char *path, struct error *err)
{
    struct load load = {.settings = s, .err = err};
    int line = ini_parse(path, on_line, &load);

    if (line == 0)
        return 0;
    if (line < 0)
        return error_set(err, ERROR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    if (load.failed)
        error_prefix(err, "%s:%d", path, line);
    else
        error_set(err, ERROR_CONFIG, "%s:%d: not a `name = value` line", path, line);
    return -1;
}

void settings_reload(struct settings *s, const struct settings *from)
{
    for (size_t i = 0; rows[i].name; i++) {
        if (!rows[i].reloadable)
            continue;
        switch (rows[i].kind) {
        case SETTINGS_STRING:
            str_replace(member(s, i), *(char **)member(from, i));
            break;
        case SETTINGS_INT:
            *(_Atomic int64_t *)member(s, i) = *(_Atomic int64_t *)member(from, i);
            break;
        case SETTINGS_BOOL:
            *(_Atomic bool *)member(s, i) = *(_Atomic bool *)member(from, i);
            break;
        }
    }
}

char *settings_text(const struct settings *s, const char *name)
{
    size_t i = 0;
    const struct settings_row *row = find(name, &i);

    if (!row)
        return NULL;
    switch (row->kind) {
    case SETTINGS_STRING:
        return xstrdup(*(char **)member(s, i));
    case SETTINGS_INT:
        return xasprintf("%lld", (long long)*(_Atomic int64_t *)member(s, i));
    case SETTINGS_BOOL:
        return xstrdup(*(_Atomic bool *)member(s, i) ? "true" : "false");
    }
    abort();
}
