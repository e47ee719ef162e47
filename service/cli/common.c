/* What several commands do alike: whole lists, operations, JSON output. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/cli/command.h"
#include "service/cli/output.h"
#include "service/cli/terminal.h"

#define WAIT_STEP_S 25 /* below what proxies cut off */

int cli_print_json(const struct answer *answer)
{
    if (answer->len == 0)
        return 0;
    if (answer->value && output_form() != OUTPUT_JSON) {
        output_value(answer->value);
        return 0;
    }
    fwrite(answer->text, 1, answer->len, stdout);
    if (answer->text[answer->len - 1] != '\n')
        fputc('\n', stdout);
    return 0;
}

void cli_print_value(const json_t *value)
{
    output_value(value);
}

int cli_get_all(struct cli *cli, const char *path, json_t **ret, struct failure *fail)
{
    auto_value json_t *all = json_pack("{s:[], s:n}", "items", "next_cursor");
    auto_free char *cursor = NULL;

    if (cli_connect(cli, fail))
        return -1;
    do {
        auto_answer struct answer a = {0};
        auto_free char *escaped = cursor ? url_escape(cursor) : NULL;
        auto_free char *page =
            cursor ? xasprintf("%s%ccursor=%s", path, strchr(path, '?') ? '&' : '?', escaped)
                   : xstrdup(path);
        const char *next;

        if (client_get(cli->client, page, &a, fail))
            return -1;
        if (!json_is_array(json_object_get(a.value, "items")))
            return failure_set(fail, CLI_FAILED, "the server's answer is not a list");
        json_array_extend(json_object_get(all, "items"), json_object_get(a.value, "items"));
        next = value_text(a.value, "next_cursor", NULL);
        if (next && str_eq(next, cursor))
            return failure_set(fail, CLI_FAILED, "the server's list does not end");
        str_replace(&cursor, next);
    } while (cursor);
    *ret = TAKE_PTR(all);
    return 0;
}

static bool finished(const char *state)
{
    return str_eq(state, "succeeded") || str_eq(state, "failed") || str_eq(state, "cancelled");
}

int cli_wait_operation(struct cli *cli, const char *id, int64_t timeout_s, json_t **ret,
                       struct failure *fail)
{
    int64_t deadline = clock_monotonic_ms() + timeout_s * 1000;
    auto_free char *escaped = url_escape(id);
    bool looked = false;

    if (cli_connect(cli, fail))
        return -1;
    for (;;) {
        int64_t left_s = (deadline - clock_monotonic_ms() + 999) / 1000;
        auto_answer struct answer a = {0};
        auto_free char *path = NULL;
        const char *state;

        if (left_s > WAIT_STEP_S)
            left_s = WAIT_STEP_S;
        if (left_s > 1 && !looked)
            left_s = 1; /* who looks on hears soon what takes so long */
        path = left_s > 0 ? xasprintf("/v1/operations/%s?wait=%lld", escaped, (long long)left_s)
                          : xasprintf("/v1/operations/%s", escaped);
        if (client_get(cli->client, path, &a, fail))
            return -1;
        state = value_text(a.value, "state", "");
        if (str_eq(state, "succeeded")) {
            *ret = json_incref(a.value);
            return 0;
        }
        if (finished(state)) {
            const json_t *problem = value_at(a.value, "error");

            failure_from_problem(fail, 500, problem);
            if (!problem)
                failure_set(fail, CLI_FAILED, "the operation was %s", state);
            return -1;
        }
        if (!looked && left_s > 0 && terminal_columns(STDERR_FILENO))
            fprintf(stderr, "%s goes on, at most %lld s; Ctrl-C leaves it alone\n",
                    value_text(a.value, "kind", "the operation"), (long long)timeout_s);
        looked = true;
        if (left_s <= 0) {
            failure_set(fail, CLI_TIMEOUT, "the operation is still %s after %lld s", state,
                        (long long)timeout_s);
            failure_remedy(fail, "drover op wait %s", id);
            return -1;
        }
    }
}
