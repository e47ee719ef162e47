/* `recording`: what consoles printed, recorded, listed, fetched and played with its timing. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/cast.h"
#include "service/cli/command.h"
#include "service/cli/print.h"

#define LINE_MAX_BYTES (1 << 20) /* of a file from elsewhere; ours are far below */
#define IDLE_MAX_S     3600

static char *path_of(const char *id, const char *rest)
{
    auto_free char *escaped = url_escape(id);

    return xasprintf("/v1/recordings/%s%s", escaped, rest);
}

static int print_one(struct cli *cli, const struct answer *a)
{
    if (cli->json)
        return cli_print_json(a);
    value_print_rows(a->value);
    return 0;
}

static int run_start(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s/recordings", vm);
    auto_value json_t *body = json_pack("{s:s}", "stream", args_text(args, "stream", "console"));
    struct client_request r = {.method = "POST", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!body)
        return failure_set(fail, CLI_USAGE, "--stream must be UTF-8");
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    if (cli->json)
        return cli_print_json(&a);
    printf("%s\n", value_text(a.value, "id", ""));
    return 0;
}

static int run_stop(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args->operand[0], "/stop");
    struct client_request r = {.method = "POST", .path = path};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return print_one(cli, &a);
}

static int run_list(struct cli *cli, const struct args *args, struct failure *fail)
{
    static const char *const titles[] = {"ID",        "VM",    "STREAM",  "STATE",
                                         ">DURATION", ">SIZE", "STARTED", "WHY IT ENDED"};
    auto_free char *vm = args->count ? url_escape(args->operand[0]) : NULL;
    auto_free char *path =
        vm ? xasprintf("/v1/recordings?limit=200&vm=%s", vm) : xstrdup("/v1/recordings?limit=200");
    auto_value json_t *all = NULL;
    auto_table struct table *t = table_new(titles, 8);
    const json_t *rec;
    size_t i;

    if (cli_get_all(cli, path, &all, fail))
        return -1;
    if (cli->json)
        return cli_print_value(all), 0;
    json_array_foreach(json_object_get(all, "items"), i, rec)
    {
        double seconds = 0, bytes = 0;

        value_number(rec, "duration_seconds", &seconds);
        value_number(rec, "size_bytes", &bytes);
        table_cell(t, value_text(rec, "id", NULL));
        table_cell(t, value_text(rec, "vm_name", NULL));
        table_cell(t, value_text(rec, "stream", NULL));
        table_cell(t, value_text(rec, "state", NULL));
        table_cell_take(t, print_duration(seconds));
        table_cell_take(t, print_bytes(bytes));
        table_cell(t, value_text(rec, "started_at", NULL));
        table_cell(t, value_text(rec, "state_reason", NULL));
    }
    table_print(t, stdout, "No recordings.");
    return 0;
}

static int run_show(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args->operand[0], "");
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_get(cli->client, path, &a, fail))
        return -1;
    return print_one(cli, &a);
}

static int run_delete(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *path = path_of(args->operand[0], "");
    struct client_request r = {.method = "DELETE", .path = path};
    auto_answer struct answer a = {0};

    return cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail) ? -1 : 0;
}

static int run_auto(struct cli *cli, const struct args *args, struct failure *fail)
{
    auto_free char *vm = url_escape(args->operand[0]);
    auto_free char *path = xasprintf("/v1/vms/%s", vm);
    bool on = str_eq(args->operand[1], "on");
    auto_value json_t *body = json_pack("{s:b}", "record_console", (int)on);
    struct client_request r = {.method = "PATCH", .path = path, .body = body};
    auto_answer struct answer a = {0};

    if (!on && !str_eq(args->operand[1], "off"))
        return failure_set(fail, CLI_USAGE, "say on or off, not '%s'", args->operand[1]);
    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return cli->json ? cli_print_json(&a) : 0;
}

/* ---- fetching ---- */

static bool to_file(void *opaque, const char *data, size_t len)
{
    return fwrite(data, 1, len, opaque) == len;
}

static int fetch(struct cli *cli, const char *id, FILE *out, struct failure *fail)
{
    auto_free char *path = path_of(id, "/content");
    struct client_request r = {.path = path,
                               .accept = "application/x-asciicast",
                               .timeout_s = -1,
                               .on_data = to_file,
                               .opaque = out};
    auto_answer struct answer a = {0};

    if (cli_connect(cli, fail) || client_do(cli->client, &r, &a, fail))
        return -1;
    return fflush(out) || ferror(out)
               ? failure_set(fail, CLI_FAILED, "the output cannot be written: %s", strerror(errno))
               : 0;
}

static int run_get(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *name = args_text(args, "file", NULL);
    auto_fclose FILE *file = NULL;

    if (!name || str_eq(name, "-"))
        return fetch(cli, args->operand[0], stdout, fail);
    file = fopen(name, "wxe");
    if (!file)
        return failure_set(fail, CLI_FAILED, "%s cannot be made: %s", name, strerror(errno));
    if (fetch(cli, args->operand[0], file, fail)) {
        (void)unlink(name);
        return -1;
    }
    return 0;
}

/* ---- playing ---- */

struct player {
    double speed, idle_max; /* seconds; a pause is cut to idle_max */
    bool timed, is_terminal;
    double at; /* of the event before */
};

static void wait_for(struct player *p, double at)
{
    double pause = at - p->at;

    p->at = at > p->at ? at : p->at;
    if (!p->timed || pause <= 0)
        return;
    pause = (pause < p->idle_max ? pause : p->idle_max) / p->speed;
    fflush(stdout);
    poll(NULL, 0, (int)(pause * 1000));
}

static void play_event(struct player *p, const struct cast_event *e)
{
    wait_for(p, e->at);
    if (e->code == 'o')
        fwrite(e->text, 1, e->len, stdout);
    if (e->code != 'm' || !p->is_terminal)
        return;
    fputs("\r\n[", stderr);
    print_safe(stderr, e->text);
    fputs("]\r\n", stderr);
}

static int play(struct player *p, FILE *file, struct failure *fail)
{
    auto_free char *line = xcalloc(1, LINE_MAX_BYTES);
    struct cast_event e;

    if (!fgets(line, LINE_MAX_BYTES, file) || !cast_is_header(line, strlen(line)))
        return failure_set(fail, CLI_FAILED, "this is not an asciicast of version 2");
    while (fgets(line, LINE_MAX_BYTES, file)) {
        if (!cast_read(line, strlen(line), &e))
            continue; /* a comment, or torn */
        play_event(p, &e);
        value_free(e.value);
        if (ferror(stdout))
            break;
    }
    if (p->is_terminal)
        fputs("\033[0m\033[?25h\r\n", stdout); /* whatever the recording left switched on */
    return 0;
}

static int parse_speed(const char *text, double *ret, struct failure *fail)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !(v >= 0.01) || v > 1000)
        return failure_set(fail, CLI_USAGE, "--speed must be a number from 0.01 to 1000, not '%s'",
                           text);
    *ret = v;
    return 0;
}

static int run_play(struct cli *cli, const struct args *args, struct failure *fail)
{
    const char *what = args->operand[0];
    auto_fclose FILE *file = NULL;
    struct player p = {.is_terminal = isatty(STDOUT_FILENO)};
    int64_t idle_max;

    if (parse_speed(args_text(args, "speed", "1"), &p.speed, fail) ||
        args_number(args, "idle", 0, IDLE_MAX_S, IDLE_MAX_S, &idle_max, fail))
        return -1;
    p.idle_max = (double)idle_max;
    p.timed = p.is_terminal || args_flag(args, "speed");
    if (strchr(what, '/') || strchr(what, '.')) {
        file = fopen(what, "re");
        if (!file)
            return failure_set(fail, CLI_FAILED, "%s cannot be opened: %s", what, strerror(errno));
        return play(&p, file, fail);
    }
    file = tmpfile(); /* fetched first: a server does not wait as long as a recording may pause */
    if (!file)
        return failure_set(fail, CLI_FAILED, "no temporary file: %s", strerror(errno));
    if (fetch(cli, what, file, fail))
        return -1;
    rewind(file);
    return play(&p, file, fail);
}

static const struct option_row start_options[] = {
    {"stream", 0, "STREAM", "console (the default), serial/N or channels/NAME"}, {0}};

static const struct option_row get_options[] = {
    {"file", 'f', "FILE", "write to this new file instead of standard output"}, {0}};

static const struct option_row play_options[] = {
    {"speed", 0, "FACTOR", "faster or slower, such as 2 or 0.5"},
    {"idle", 'i', "SECONDS", "cut pauses to this"},
    {0}};

const struct command recording_commands[] = {
    {"recording start", "VM", 1, 1, "record a VM's console from now on; prints the recording's id",
     start_options, run_start,
     "What is typed is not recorded. Whoever looks at the console is told that it is recorded."},
    {"recording stop", "ID", 1, 1, "end a recording", NULL, run_stop, NULL},
    {"recording auto", "VM on|off", 2, 2, "whether each boot of a VM is recorded", NULL, run_auto,
     NULL},
    {"recording list", "[VM]", 0, 1, "list recordings, newest first", NULL, run_list, NULL},
    {"recording show", "ID", 1, 1, "show one recording's data", NULL, run_show, NULL},
    {"recording get", "ID", 1, 1, "download a recording (asciicast v2)", get_options, run_get,
     NULL},
    {"recording play", "ID|FILE", 1, 1, "play a recording in this terminal with its timing",
     play_options, run_play,
     "Without a terminal the output comes at once, unless --speed is given. A name with a dot or a "
     "slash is a file."},
    {"recording delete", "ID", 1, 1, "delete a finished recording", NULL, run_delete, NULL},
    {0}};
