/*
 * `top`: every running VM with what it uses, drawn again and again. Each look takes one tick of the
 * live topic, in which the server has worked out the rates; keys only draw it in another order.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/output.h"
#include "service/cli/print.h"
#include "service/cli/sse.h"
#include "service/cli/style.h"
#include "service/cli/terminal.h"
#include "service/cli/value.h"

#define PATIENCE_S   30
#define HEADING_ROWS 5
#define CTRL_C       3

static const struct column {
    const char *title, *member, *name; /* name: what --sort calls it */
    char key;
    enum { SHARE, BYTES, RATE } unit;
} columns[] = {
    {">CPU", "cpu_percent", "cpu", 'c', SHARE},
    {">RESIDENT", "resident_bytes", "memory", 'm', BYTES},
    {">PROMISED", "promised_bytes", "promised", 'p', BYTES},
    {">READ/s", "storage_read_bytes_per_second", "read", 'r', RATE},
    {">WRITTEN/s", "storage_write_bytes_per_second", "written", 'w', RATE},
    {">IN/s", "receive_bytes_per_second", "in", 'i', RATE},
    {">OUT/s", "transmit_bytes_per_second", "out", 'o', RATE},
    {">KSM SAVED", "ksm_saved_bytes", "saved", 's', BYTES},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))
#define BY_NAME COLUMNS

struct top {
    struct cli *cli;
    struct sse sse;
    json_t *names; /* id: name */
    json_t *items; /* of the tick */
    json_t *host;
    bool whole; /* all parts of one tick are here */
    size_t order;
};

struct row {
    const char *name;
    const json_t *item;
    double by;
};

/* ---- one tick ---- */

static bool on_event(void *opaque, const char *data, size_t len)
{
    struct top *top = opaque;
    auto_value json_t *tick = value_parse(data, len);
    double part = 0, parts = 0;

    if (!value_number(tick, "part", &part) || !value_number(tick, "parts", &parts))
        return true;
    if (part == 1)
        json_array_clear(top->items);
    json_array_extend(top->items, json_object_get(tick, "items"));
    json_decref(top->host);
    top->host = json_incref(json_object_get(tick, "host"));
    top->whole = part == parts;
    return !top->whole;
}

static bool on_bytes(void *opaque, const char *data, size_t len)
{
    struct top *top = opaque;

    return sse_feed(&top->sse, data, len);
}

static bool names_are_known(const struct top *top)
{
    const json_t *item;
    size_t i;

    json_array_foreach(top->items, i, item) {
        if (!json_object_get(top->names, value_text(item, "vm_id", "")))
            return false;
    }
    return true;
}

static int learn_names(struct top *top, struct failure *fail)
{
    auto_value json_t *vms = NULL;
    const json_t *vm;
    size_t i;

    if (cli_get_all(top->cli, "/v1/vms?limit=1000", &vms, fail))
        return -1;
    json_object_clear(top->names);
    json_array_foreach(json_object_get(vms, "items"), i, vm) {
        json_object_set(top->names, value_text(vm, "id", ""), json_object_get(vm, "name"));
    }
    return 0;
}

static int look(struct top *top, struct failure *fail)
{
    const struct client_request r = {.path = "/v1/stats",
                                     .accept = "text/event-stream",
                                     .timeout_s = PATIENCE_S,
                                     .on_data = on_bytes,
                                     .opaque = top};
    auto_answer struct answer a = {0};
    int rc;

    top->whole = false;
    sse_init(&top->sse, on_event, top);
    rc = client_do(top->cli->client, &r, &a, fail);
    sse_done(&top->sse);
    if (!top->whole)
        return rc ? rc : failure_set(fail, CLI_CONNECT, "the server sent no figures within %d s", PATIENCE_S);
    return names_are_known(top) ? 0 : learn_names(top, fail);
}

/* ---- drawing ---- */

static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->by != y->by)
        return x->by < y->by ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* The caller frees them. */
static struct row *rows_of(const struct top *top)
{
    struct row *rows = xcalloc(json_array_size(top->items) + 1, sizeof(*rows));
    const json_t *item;
    size_t i;

    json_array_foreach(top->items, i, item) {
        const char *id = value_text(item, "vm_id", "");

        rows[i] = (struct row){.name = value_text(top->names, id, id), .item = item};
        if (top->order < COLUMNS && !value_number(item, columns[top->order].member, &rows[i].by))
            rows[i].by = -1;
    }
    qsort(rows, json_array_size(top->items), sizeof(*rows), compare);
    return rows;
}

static void cell(struct table *t, const struct column *c, const json_t *item)
{
    double v;

    if (!value_number(item, c->member, &v))
        table_cell(t, NULL);
    else if (c->unit == SHARE)
        table_cell_take(t, xasprintf("%.1f %%", v));
    else
        table_cell_take(t, print_bytes(v));
}

static char *bytes_or_dash(const json_t *value, const char *member)
{
    double v;

    return value_number(value, member, &v) ? print_bytes(v) : xstrdup("-");
}

static void print_host(const struct top *top)
{
    auto_free char *free_memory = bytes_or_dash(top->host, "available_bytes");
    auto_free char *all = bytes_or_dash(top->host, "total_bytes");
    auto_free char *saved = bytes_or_dash(top->host, "ksm_saved_bytes");
    double share;
    auto_free char *ksmd =
        value_number(top->host, "ksmd_cpu_percent", &share) ? xasprintf("%.1f %%", share) : xstrdup("-");

    printf("%zu VMs run; %s of %s memory free; KSM saves %s and takes %s of a CPU\n", json_array_size(top->items),
           free_memory, all, saved, ksmd);
}

/* rows: of the terminal, 0 for all there are. */
static void draw(const struct top *top, unsigned rows)
{
    const char *titles[COLUMNS + 1] = {"VM"};
    size_t count = json_array_size(top->items), shown = count;
    auto_free struct row *sorted = rows_of(top);

    for (size_t c = 0; c < COLUMNS; c++)
        titles[c + 1] = columns[c].title;
    if (rows && count + HEADING_ROWS > rows)
        shown = rows > HEADING_ROWS ? rows - HEADING_ROWS : 1;
    print_host(top);
    if (rows) {
        style_begin(stdout, STYLE_FAINT);
        printf("by %s; ", top->order == BY_NAME ? "name" : columns[top->order].name);
        fputs("keys: ", stdout);
        for (size_t c = 0; c < COLUMNS; c++)
            printf("%c %s, ", columns[c].key, columns[c].name);
        fputs("n name, q quit", stdout);
        style_end(stdout);
    }
    fputs("\n", stdout);
    {
        auto_table struct table *t = table_new(titles, COLUMNS + 1);

        for (size_t i = 0; i < shown; i++) {
            table_cell(t, sorted[i].name);
            for (size_t c = 0; c < COLUMNS; c++)
                cell(t, &columns[c], sorted[i].item);
        }
        table_print(t, stdout, "No VM runs.");
    }
    if (shown < count)
        printf("and %zu more\n", count - shown);
}

/* ---- the keys ---- */

/* False: leave. */
static bool press(struct top *top, char key)
{
    if (key == 'n')
        top->order = BY_NAME;
    for (size_t c = 0; c < COLUMNS; c++) {
        if (columns[c].key == key)
            top->order = c;
    }
    return key != 'q' && key != CTRL_C;
}

/* Draws, and again at each key, until the time is up. False: leave. */
static bool show_for(struct top *top, int64_t seconds, bool keys)
{
    for (;;) {
        struct pollfd in = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};
        char key;

        fputs("\033[H\033[2J", stdout);
        draw(top, terminal_rows(STDOUT_FILENO));
        fflush(stdout);
        if (poll(&in, 1, (int)seconds * 1000) == 0)
            return true;
        if (read(STDIN_FILENO, &key, 1) != 1 || !press(top, key))
            return false;
    }
}

static int choose_order(struct top *top, const char *name, struct failure *fail)
{
    for (top->order = 0; top->order < COLUMNS; top->order++) {
        if (str_eq(columns[top->order].name, name))
            return 0;
    }
    if (str_eq(name, "name"))
        return 0;
    failure_set(fail, CLI_USAGE, "there is no order '%s'", name);
    failure_remedy(fail, "cpu, memory, promised, read, written, in, out, saved or name");
    return -1;
}

static int run(struct top *top, const struct args *args, struct failure *fail)
{
    bool once = args_flag(args, "once") || !isatty(STDOUT_FILENO), keys;
    int64_t seconds;

    if (args_number(args, "delay", 1, 3600, 2, &seconds, fail) ||
        choose_order(top, args_text(args, "sort", "cpu"), fail) || cli_connect(top->cli, fail))
        return -1;
    if (top->cli->json || once) {
        if (look(top, fail))
            return -1;
        if (top->cli->json) {
            auto_value json_t *both = json_pack("{s:O, s:O}", "host", top->host, "items", top->items);

            cli_print_value(both);
        } else {
            draw(top, 0);
        }
        return fflush(stdout) ? failure_set(fail, CLI_FAILED, "the output cannot be written") : 0;
    }
    keys = terminal_keys(STDIN_FILENO);
    do {
        if (look(top, fail))
            return -1;
    } while (show_for(top, seconds, keys));
    return 0;
}

static int run_top(struct cli *cli, const struct args *args, struct failure *fail)
{
    struct top top = {.cli = cli, .names = json_object(), .items = json_array()};
    int rc = run(&top, args, fail);

    terminal_restore();
    json_decref(top.names);
    json_decref(top.items);
    json_decref(top.host);
    return rc;
}

static const struct option_row top_options[] = {
    {"delay", 'd', "SECONDS", "between two looks (default 2)"},
    {"sort", 0, "BY", "cpu (default), memory, promised, read, written, in, out, saved or name"},
    {"once", '1', NULL, "look once"},
    {0}};

const struct command top_commands[] = {
    {"top", "", 0, 0, "show what every running VM uses, again and again", top_options, run_top,
     "A key chooses the order: the letters are on the screen; q leaves. When the output is no terminal, it is "
     "shown once."},
    {0}};
