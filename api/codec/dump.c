/*
 * The tables of the daemon as JSON.
 */
#include "api/dump.h"

#include <jansson.h>
#include <string.h>

#include "api/handlers/metrics_writer.h"
#include "api/request.h"
#include "service/base/error.h"
#include "service/conf/settings.h"
#include "service/json/doc.h"
#include "service/vm/access.h"

static const char *scope_text(const struct route *route)
{
    if (!route->scope)
        return route->flags & ROUTE_PUBLIC ? "none" : "any";
    return access_scope_name(__builtin_ctz(route->scope));
}

static json_t *dump_routes(void)
{
    json_t *list = json_array();

    for (const struct route *r = routes; r->method; r++)
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b}", "method", r->method, "path", r->path,
                      "operation_id", r->operation_id, "scope", scope_text(r), "body",
                      (r->flags & (ROUTE_BODY | ROUTE_BODY_OPTIONAL)) != 0, "upload", (r->flags & ROUTE_UPLOAD) != 0,
                      "upgrade", (r->flags & (ROUTE_UPGRADE | ROUTE_UPGRADE_OPTIONAL)) != 0));
    return list;
}

static json_t *dump_errors(void)
{
    json_t *list = json_array();

    for (int code = ERROR_NONE + 1; code < ERROR_COUNT; code++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:b}", "code",
                                              error_slug((enum error_code)code), "status",
                                              error_status((enum error_code)code), "title",
                                              error_title((enum error_code)code), "retry",
                                              error_retry((enum error_code)code)));
    return list;
}

static json_t *setting_default(const struct settings_row *row)
{
    switch (row->kind) {
    case SETTINGS_STRING:
        return json_string(row->default_text);
    case SETTINGS_INT:
        return json_loads(row->default_text, JSON_DECODE_ANY, NULL);
    case SETTINGS_BOOL:
        return json_boolean(strcmp(row->default_text, "true") == 0);
    }
    return NULL;
}

static json_t *dump_settings(void)
{
    static const char *const types[] = {"string", "integer", "boolean"};
    json_t *list = json_array();

    for (const struct settings_row *row = settings_rows(); row->name; row++) {
        json_t *object = json_pack("{s:s, s:s, s:o, s:b, s:s}", "name", row->name, "type",
                                   types[row->kind], "default", setting_default(row), "reloadable",
                                   row->reloadable, "description", row->help);

        if (row->kind == SETTINGS_INT) {
            json_object_set_new(object, "minimum", json_integer(row->min));
            json_object_set_new(object, "maximum", json_integer(row->max));
        }
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *dump_metrics(void)
{
    json_t *list = json_array();

    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", row->name,
                                              "type", metric_kind_name(row->kind), "unit",
                                              row->unit, "labels", row->labels, "help", row->help));
    }
    return list;
}

int api_dump(const char *what, FILE *out)
{
    static const struct {
        const char *name;
        json_t *(*dump)(void);
    } tables[] = {
        {"routes", dump_routes},
        {"errors", dump_errors},
        {"settings", dump_settings},
        {"metrics", dump_metrics},
    };

    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        if (strcmp(tables[i].name, what) != 0)
            continue;
        auto_json json_t *table = tables[i].dump();
        json_dumpf(table, out, JSON_INDENT(2));
        fputc('\n', out);
        return 0;
    }
    return -1;
}
