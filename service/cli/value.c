/* Members of JSON answers, for people. */
#include "service/cli/value.h"

#include <string.h>

#include "service/base/str.h"
#include "service/cli/print.h"

json_t *value_parse(const char *text, size_t len)
{
    return json_loadb(text, len, JSON_DECODE_ANY, NULL);
}

const json_t *value_at(const json_t *value, const char *path)
{
    while (value && *path) {
        size_t len = strcspn(path, ".");
        auto_free char *name = xstrndup(path, len);

        value = json_object_get(value, name);
        path += len + (path[len] == '.');
    }
    return json_is_null(value) ? NULL : value;
}

const char *value_text(const json_t *value, const char *path, const char *fallback)
{
    const char *text = json_string_value(value_at(value, path));

    return text ? text : fallback;
}

bool value_true(const json_t *value, const char *path)
{
    return json_is_true(value_at(value, path));
}

bool value_number(const json_t *value, const char *path, double *ret)
{
    const json_t *at = value_at(value, path);

    if (!json_is_number(at))
        return false;
    *ret = json_number_value(at);
    return true;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);

    return n >= s && strcmp(name + n - s, suffix) == 0;
}

static char *show_number(const char *name, const json_t *value)
{
    double number = json_number_value(value);

    if (ends_with(name, "_bytes"))
        return print_bytes(number);
    if (ends_with(name, "_percent"))
        return xasprintf("%.1f %%", number);
    if (ends_with(name, "_seconds") && json_is_real(value))
        return xasprintf("%.2f s", number);
    if (ends_with(name, "_seconds"))
        return print_duration(number);
    if (json_is_integer(value))
        return xasprintf("%lld", (long long)json_integer_value(value));
    return xasprintf("%g", number);
}

/* A list of plain values on one line; a list with an object in it as compact JSON. */
static char *show_list(const char *name, const json_t *list)
{
    auto_strbuf struct strbuf b = {0};
    size_t i;
    json_t *element;

    if (json_array_size(list) == 0)
        return xstrdup("-");
    json_array_foreach((json_t *)(uintptr_t)list, i, element) {
        auto_free char *text = value_show(name, element);

        if (i)
            strbuf_adds(&b, ", ");
        strbuf_adds(&b, text);
    }
    return strbuf_take(&b);
}

static char *show_object(const json_t *object)
{
    auto_strbuf struct strbuf b = {0};
    const char *name;
    json_t *member;

    if (json_object_size(object) == 0)
        return xstrdup("-");
    json_object_foreach((json_t *)(uintptr_t)object, name, member) {
        auto_free char *text = value_show(name, member);

        if (json_is_null(member))
            continue;
        strbuf_addf(&b, "%s%s=%s", b.len ? " " : "", name, text);
    }
    return strbuf_take(&b);
}

char *value_show(const char *name, const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        return xstrdup(*json_string_value(value) ? json_string_value(value) : "-");
    case JSON_INTEGER:
    case JSON_REAL:
        return show_number(name, value);
    case JSON_TRUE:
        return xstrdup("yes");
    case JSON_FALSE:
        return xstrdup("no");
    case JSON_ARRAY:
        return show_list(name, value);
    case JSON_OBJECT:
        return show_object(value);
    case JSON_NULL:
        break;
    }
    return xstrdup("-");
}

static void add_rows(struct table *t, const char *prefix, const json_t *object)
{
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)object, name, member) {
        auto_free char *full = xasprintf("%s%s%s", prefix, *prefix ? "." : "", name);

        if (json_is_object(member) && json_object_size(member) > 0) {
            add_rows(t, full, member);
        } else if (json_is_array(member) && json_is_object(json_array_get(member, 0))) {
            for (size_t i = 0; i < json_array_size(member); i++) {
                auto_free char *element = xasprintf("%s[%zu]", full, i);

                table_cell(t, element);
                table_cell_take(t, value_show(name, json_array_get(member, i)));
            }
        } else {
            table_cell(t, full);
            table_cell_take(t, value_show(name, member));
        }
    }
}

void value_print_rows(const json_t *object)
{
    static const char *const titles[] = {"NAME", "VALUE"};
    auto_table struct table *t = table_new(titles, 2);

    add_rows(t, "", object);
    table_print(t, stdout, "nothing to show");
}
