/*
 * Commands that are one request each: `whoami`, `vm thaw`, `image versions`, `catalogue sources` and
 * the like. A row says what is asked and how the answer is shown.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

enum show { SHOW_NOTHING, SHOW_ROWS, SHOW_LIST, SHOW_TEXT };

/* path: each %s is an operand, escaped. columns: of a list's table, "TITLE member,…". */
static const struct ask {
    const char *words, *method, *path;
    enum show show;
    const char *columns, *empty;
} asks[] = {
    {"whoami", "GET", "/v1/session", SHOW_ROWS, NULL, NULL},
    {"vm thaw", "POST", "/v1/vms/%s/agent/thaw", SHOW_ROWS, NULL, NULL},
    {"vm programs", "GET", "/v1/vms/%s/exec", SHOW_LIST,
     "ID id,STATE state,PROGRAM argv,>PRINTED stdout_bytes,BEGAN created_at,ENDED ended_at", "No programs."},
    {"vm program", "GET", "/v1/vms/%s/exec/%s", SHOW_ROWS, NULL, NULL},
    {"vm kill", "DELETE", "/v1/vms/%s/exec/%s", SHOW_NOTHING, NULL, NULL},
    {"vm set-time", "POST", "/v1/vms/%s/agent/time", SHOW_NOTHING, NULL, NULL},
    {"vm user-data", "GET", "/v1/vms/%s/user-data", SHOW_TEXT, NULL, NULL},
    {"vm log", "GET", "/v1/vms/%s/console/log", SHOW_TEXT, NULL, NULL},
    {"vm clear-log", "DELETE", "/v1/vms/%s/console/log", SHOW_NOTHING, NULL, NULL},
    {"pool user-data", "GET", "/v1/pools/%s/user-data", SHOW_TEXT, NULL, NULL},
    {"image versions", "GET", "/v1/image-labels/%s", SHOW_LIST,
     "VERSION version,IMAGE image_name,IMAGE_ID image_id,SINCE created_at", "No versions."},
    {"catalogue show", "GET", "/v1/catalogue/%s", SHOW_ROWS, NULL, NULL},
    {"catalogue sources", "GET", "/v1/catalogue-sources?limit=200", SHOW_LIST,
     "NAME name,KIND kind,URL url,ENTRIES entries,READ refreshed_at",
     "No sources. Add one: drover catalogue create NAME URL --key FILE"},
};

#define COLUMNS_MAX 8

/* The list that an answer is, or has: a page's items, a label's versions. */
static const json_t *list_of(const json_t *value)
{
    const json_t *items = value_at(value, "items");

    return items ? items : value_at(value, "versions");
}

static void show_list(const struct ask *ask, const json_t *list)
{
    auto_free char *columns = xstrdup(ask->columns);
    const char *titles[COLUMNS_MAX], *members[COLUMNS_MAX];
    struct table *t;
    const json_t *item;
    size_t count = 0, i;

    for (char *save = NULL, *p = strtok_r(columns, ",", &save); p && count < COLUMNS_MAX;
         p = strtok_r(NULL, ",", &save)) {
        titles[count] = strsep(&p, " ");
        members[count++] = p;
    }
    t = table_new(titles, count);
    json_array_foreach((json_t *)(uintptr_t)list, i, item) {
        for (size_t c = 0; c < count; c++)
            table_cell_take(t, value_show(members[c], value_at(item, members[c])));
    }
    table_print(t, stdout, ask->empty);
    table_free(t);
}

/* Text of a guest or of somebody else: to a terminal without what could drive it. */
static void show_text(const struct answer *a)
{
    if (!isatty(STDOUT_FILENO)) {
        fwrite(a->text, 1, a->len, stdout);
        return;
    }
    for (char *p = a->text, *end; p < a->text + a->len; p = end + 1) {
        end = strchrnul(p, '\n');
        *end = '\0';
        p[strcspn(p, "\r")] = '\0';
        print_safe(stdout, p);
        putchar('\n');
    }
}

static const struct ask *row_of(const struct command *command)
{
    for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
        if (str_eq(asks[i].words, command->words))
            return &asks[i];
    }
    abort(); /* the two tables of this file differ */
}

static void add_path(struct strbuf *path, const char *shape, const struct args *args)
{
    const char *gap;

    for (int i = 0; (gap = strstr(shape, "%s")) && i < args->count; i++) {
        auto_free char *operand = url_escape(args->operand[i]);

        strbuf_add(path, shape, (size_t)(gap - shape));
        strbuf_adds(path, operand);
        shape = gap + 2;
    }
    strbuf_adds(path, shape);
}

static void add_query(struct strbuf *path, const struct args *args, const char *option)
{
    const char *value = args_text(args, option, NULL);
    auto_free char *escaped = value ? url_escape(value) : NULL;

    if (value)
        strbuf_addf(path, "%c%s=%s", strchr(path->data, '?') ? '&' : '?', option, escaped);
}

static int run(struct cli *cli, const struct args *args, struct failure *fail)
{
    const struct ask *ask = row_of(args->command);
    auto_strbuf struct strbuf path = {0};
    struct client_request r = {0};
    auto_answer struct answer a = {0};

    add_path(&path, ask->path, args);
    add_query(&path, args, "stream");
    add_query(&path, args, "from");
    if (args_flag(args, "raw"))
        strbuf_addf(&path, "%cformat=raw", strchr(path.data, '?') ? '&' : '?');
    r.method = ask->method;
    r.path = path.data;
    r.accept = ask->show == SHOW_TEXT ? "*/*" : NULL;
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (ask->show == SHOW_NOTHING || a.len == 0)
        return 0;
    if (ask->show == SHOW_TEXT && args_flag(args, "raw"))
        fwrite(a.text, 1, a.len, stdout);
    else if (ask->show == SHOW_TEXT)
        show_text(&a);
    else if (cli->json)
        cli_print_json(&a);
    else if (ask->show == SHOW_LIST)
        show_list(ask, list_of(a.value));
    else
        value_print_rows(a.value);
    return 0;
}

static const struct option_row log_options[] = {
    {"stream", 0, "NAME", "console (default), serial/N or channels/NAME"},
    {"from", 0, "OFFSET", "begin at this byte since power-on"},
    {"raw", 0, NULL, "the very bytes, with everything that drives a terminal"},
    {0}};
static const struct option_row clear_options[] = {
    {"stream", 0, "NAME", "console (default), serial/N or channels/NAME"}, {0}};

const struct command ask_commands[] = {
    {"whoami", "", 0, 0, "show who the server takes you for, and what you may do", NULL, run, NULL},
    {"vm log", "VM", 1, 1, "print what a VM's console has printed", log_options, run,
     "As far as it is remembered. `console` goes on printing what comes."},
    {"vm clear-log", "VM", 1, 1, "forget what a VM's console has printed", clear_options, run, NULL},
    {"vm user-data", "VM", 1, 1, "print a VM's user data, which may hold secrets", NULL, run, NULL},
    {"vm programs", "VM", 1, 1, "list programs that exec left running, or that ended lately", NULL, run, NULL},
    {"vm program", "VM PROGRAM", 2, 2, "show how such a program is", NULL, run, NULL},
    {"vm kill", "VM PROGRAM", 2, 2, "kill such a program and its children", NULL, run, NULL},
    {"vm thaw", "VM", 1, 1, "let a guest write again after vm freeze", NULL, run, NULL},
    {"vm set-time", "VM", 1, 1, "set a guest's clock to the host's", NULL, run, NULL},
    {"pool user-data", "POOL", 1, 1, "print the user data of a pool's VMs", NULL, run, NULL},
    {"image versions", "LABEL", 1, 1, "list where a label has pointed, newest first", NULL, run, NULL},
    {"catalogue show", "ENTRY", 1, 1, "show a catalogue entry", NULL, run, NULL},
    {"catalogue sources", "", 0, 0, "list the catalogue's sources", NULL, run, NULL},
    {0}};
