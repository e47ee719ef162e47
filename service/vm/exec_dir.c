/*
 * What a streamed program needs in the guest: a directory with FIFOs, and a small shell loop for each
 * of its streams that carries bytes between a FIFO and files. Nothing polls there; the loops wait on
 * FIFOs that we write to.
 */
#include "service/vm/exec_run.h"

#include <stdio.h>
#include <string.h>

#include "service/base/str.h"

#define SETUP_MS 20000

/* $1: a name of its own. Prints the directory. */
static const char setup[] =
    "umask 077\n"
    "for b in /run /tmp; do\n"
    "    d=$b/drover-exec-$1\n"
    "    mkdir \"$d\" 2>/dev/null && break\n"
    "    d=\n"
    "done\n"
    "cd \"${d:-/nonexistent}\" && mkfifo i o e ic oc ec || exit 1\n"
    "out() {\n"
    "    exec >/dev/null 2>&1 3<>\"$1c\"\n"
    "    exec <\"$1\"\n"
    "    n=0 a=0 z=0 r=0\n"
    "    while :; do\n"
    "        while [ $((n - a)) -ge 3 ]; do read -r a <&3 || exit 1; done\n"
    "        while [ \"$z\" -lt \"$a\" ]; do rm -f \"$1.$z\"; z=$((z + 1)); done\n"
    "        dd bs=4096 count=64 of=\"$1.$n\" || { r=1; break; }\n"
    "        [ -s \"$1.$n\" ] || break\n"
    "        n=$((n + 1))\n"
    "    done\n"
    "    echo \"$r\" >\"$1.end\"\n"
    "}\n"
    "put() {\n"
    "    exec </dev/null >/dev/null 2>&1 3<>ic\n"
    "    n=0\n"
    "    while read -r k <&3 && [ \"$k\" != end ]; do\n"
    "        [ \"$k\" = \"$n\" ] || continue\n"
    "        cat \"i.$n\"\n"
    "        rm -f \"i.$n\"\n"
    "        n=$((n + 1))\n"
    "    done >i\n"
    "}\n"
    "out o & p=$!\n"
    "out e & p=\"$p $!\"\n"
    "put & echo \"$p $!\" >pids\n"
    "echo \"$d\"\n";
static const char start[] = "d=$1; shift; exec \"$@\" <\"$d/i\" >\"$d/o\" 2>\"$d/e\"";
static const char cleanup[] = "kill $(cat \"$1/pids\") 2>/dev/null; rm -rf \"$1\"";

int exec_dir_open(struct exec_run *r, const char *name, const char *mode, int64_t *ret, struct error *err)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    return guest_file_open(r->link, path, mode, ret, err);
}

int exec_dir_look(struct exec_run *r, char letter, const char *rest, int64_t *ret, struct error *err)
{
    char name[40];

    snprintf(name, sizeof(name), "%c.%s", letter, rest);
    if (exec_dir_open(r, name, "r", ret, err) == 0)
        return 1;
    return err->code == ERROR_GUEST_FILE_NOT_FOUND ? 0 : -1;
}

int exec_dir_look_number(struct exec_run *r, char letter, unsigned number, int64_t *ret, struct error *err)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    return exec_dir_look(r, letter, text, ret, err);
}

void exec_dir_find(struct exec_run *r)
{
    static const char *const bases[] = {"/run", "/tmp"};
    struct error ignored;
    int64_t handle;

    for (size_t i = 0; i < 2; i++) {
        snprintf(r->dir, sizeof(r->dir), "%s/drover-exec-%s", bases[i], r->exec->id);
        if (exec_dir_open(r, "pids", "r", &handle, &ignored) == 0) {
            exec_dir_close(r, &handle);
            return;
        }
    }
    r->dir[0] = '\0';
}

void exec_dir_close(struct exec_run *r, int64_t *handle)
{
    struct error ignored;

    if (*handle >= 0)
        (void)guest_file_close(r->link, *handle, &ignored);
    *handle = -1;
}

int exec_dir_signal(struct exec_run *r, int64_t *gate, char letter, const char *text, struct error *err)
{
    char name[3] = {letter, 'c', '\0'};

    /* Read and write: such an open never waits for the other side. */
    if (*gate < 0 && exec_dir_open(r, name, "r+", gate, err))
        return -1;
    if (guest_file_add(r->link, *gate, text, strlen(text), err))
        return -1;
    return guest_call(r->link, "guest-file-flush", json_pack("{s:I}", "handle", (json_int_t)*gate),
                      guest_deadline(r->link->hub->core), NULL, err);
}

static void step_of(struct guest_step *step, const char *script, const char *first, int64_t timeout_ms)
{
    *step = (struct guest_step){.timeout_ms = timeout_ms};
    step->argv[0] = xstrdup("/bin/sh");
    step->argv[1] = xstrdup("-c");
    step->argv[2] = xstrdup(script);
    step->argv[3] = xstrdup("sh");
    step->argv[4] = xstrdup(first);
}

static void step_free(struct guest_step *step)
{
    for (char **p = step->argv; *p; p++)
        free(*p);
}

static bool dir_ok(const char *text)
{
    return (str_starts(text, "/run/drover-exec-") || str_starts(text, "/tmp/drover-exec-")) &&
           !strchr(text + 5, '/');
}

int exec_dir_make(struct exec_run *r, struct error *err)
{
    struct guest_outcome o = {0};
    struct guest_step step;
    int rc;

    step_of(&step, setup, r->exec->id, SETUP_MS);
    rc = guest_run_step(r->link, &step, &o, err);
    step_free(&step);
    if (rc == 0) {
        size_t len = o.out.len < sizeof(r->dir) ? o.out.len : 0;

        if (len)
            memcpy(r->dir, o.out.data, len - 1);
        if (o.exit_code || o.timed_out || !len || !dir_ok(r->dir))
            rc = error_set(err, ERROR_AGENT_FAILED, "the guest's shell could not prepare the streams");
    }
    if (rc)
        error_remedy(err, "Streaming needs /bin/sh, mkfifo and dd in the guest; without \"stream\" "
                          "no shell is needed.");
    guest_output_done(&o.out);
    guest_output_done(&o.err);
    return rc;
}

int exec_dir_begin(struct exec_run *r, struct error *err)
{
    const struct guest_step *own = &r->exec->x->steps[0];
    struct guest_step step;
    size_t n = 5;
    int rc = -1;

    step_of(&step, start, r->dir, own->timeout_ms);
    for (size_t i = 0; own->argv[i] && n < GUEST_ARGV_MAX; i++)
        step.argv[n++] = xstrdup(own->argv[i]);
    memcpy(step.environment, own->environment, sizeof(step.environment));
    rc = guest_program_start(r->link, &step, false, &r->pid, err);
    step_free(&step);
    return rc;
}

void exec_dir_tidy(struct exec_run *r)
{
    const char *argv[] = {"/bin/sh", "-c", cleanup, "sh", r->dir, NULL};
    struct error ignored;

    for (int i = 0; i < EXEC_OUTPUTS; i++) {
        exec_dir_close(r, &r->pull[i].file);
        exec_dir_close(r, &r->pull[i].next);
        exec_dir_close(r, &r->pull[i].gate);
    }
    exec_dir_close(r, &r->push.gate);
    (void)guest_run_simple(r->link, argv, &ignored);
}
