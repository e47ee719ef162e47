/* Folders into a leased VM and out of it. */
#include "service/cli/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/secret.h"
#include "service/base/str.h"
#include "service/cli/bundle.h"
#include "service/cli/exec_output.h"

#define STEP_S      60
#define PACK_S      3600
#define OUT_MAX     (8ull << 30) /* of content, of one --fetch */
#define SCRIPT_MAX  100000       /* of folders and links of one step, where there is no tar */
#define NOT_THERE   44           /* what out_script ends with */

/* What the guest can do: "tar", "tar gzip" or neither. Small images have no /var/tmp yet. */
static const char probe_script[] =
    "mkdir -p /var/tmp || exit 1\n"
    "command -v tar >/dev/null && printf 'tar ' && command -v gzip >/dev/null && printf gzip\n"
    "exit 0\n";
static const char unpack_script[] =
    "mkdir -p \"$2\" && cd \"$2\" || exit 1\n"
    "if [ \"$3\" = gzip ]; then gzip -dc \"$1\" | tar -xf -; else tar -xf \"$1\"; fi || exit 1\n"
    "rm -f \"$1\"\n";
/* $1: where, $2: what, $3: into which archive, $4: gzip. */
static const char pack_script[] =
    "mkdir -p \"$1\" && cd \"$1\" || exit 1\n"
    "umask 077\n"
    "if [ -d \"$2\" ]; then cd \"$2\" || exit 1; what=.\n"
    "elif [ -e \"$2\" ]; then cd \"$(dirname -- \"$2\")\" || exit 1; what=./$(basename -- \"$2\")\n"
    "else echo \"there is no $2\" >&2; exit 44; fi\n"
    "if [ \"$4\" = gzip ]; then tar -cf - \"$what\" | gzip -1 >\"$3\"; else tar -cf \"$3\" \"$what\"; fi\n";
static const char list_script[] =
    "cd \"$1\" 2>/dev/null || cd / || exit 1\n"
    "if [ -d \"$2\" ]; then cd \"$2\" && pwd && find . -type f\n"
    "elif [ -e \"$2\" ]; then cd \"$(dirname -- \"$2\")\" && pwd && printf './%s\\n' \"$(basename -- \"$2\")\"\n"
    "else echo \"there is no $2\" >&2; exit 44; fi\n";
static const char remove_script[] = "rm -f \"$1\"";

struct abilities {
    bool tar, gzip;
};

static int probe(struct job *job, struct abilities *ret, struct failure *fail)
{
    auto_answer struct answer a = {0};
    auto_free char *text = NULL;
    size_t len;

    if (job_shell(job, probe_script, NULL, STEP_S, &a, fail))
        return -1;
    text = exec_output_bytes(a.value, "stdout", &len);
    ret->tar = text && str_has_word(text, "tar");
    ret->gzip = text && str_has_word(text, "gzip");
    return 0;
}

static void archive_name(char ret[64])
{
    char id[UUID_TEXT];

    uuid_new(id);
    snprintf(ret, 64, "/var/tmp/drover-%.8s.tar", id);
}

static int temporary(FILE **ret, struct failure *fail)
{
    *ret = tmpfile();
    return *ret ? 0 : failure_errno(fail, CLI_FAILED, errno, "cannot make a temporary file");
}

static int put_file(struct job *job, FILE *file, int64_t size, const char *to, unsigned mode,
                    struct failure *fail)
{
    auto_free char *escaped = url_escape(to);
    auto_free char *path = xasprintf("files?path=%s&mode=%04o", escaped, mode);
    struct client_request r = {.method = "PUT", .upload = file, .upload_size = size, .timeout_s = -1};
    auto_answer struct answer a = {0};

    return job_request(job, &r, path, &a, fail);
}

/* ---- in, where there is no tar ---- */

struct one_by_one {
    struct job *job;
    const char *to;
    struct strbuf script; /* folders and links that are still to be made */
};

static int make(struct one_by_one *x, struct failure *fail)
{
    int rc = x->script.len ? job_shell_check(x->job, x->script.data, NULL, STEP_S, fail) : 0;

    strbuf_done(&x->script);
    x->script = (struct strbuf){0};
    return rc;
}

static int add(struct one_by_one *x, const char *before, const char *path, const char *after,
               struct failure *fail)
{
    auto_free char *whole = xasprintf("%s/%s", x->to, path);

    strbuf_adds(&x->script, before);
    job_quote(&x->script, whole);
    strbuf_adds(&x->script, after);
    return x->script.len > SCRIPT_MAX ? make(x, fail) : 0;
}

static int in_folder(void *opaque, const char *path, unsigned mode, struct failure *fail)
{
    return add(opaque, "mkdir -p ", path, " || exit 1\n", fail);
}

static int in_link(void *opaque, const char *path, const char *target, struct failure *fail)
{
    auto_strbuf struct strbuf before = {0};

    strbuf_adds(&before, "ln -sfn -- ");
    job_quote(&before, target);
    strbuf_addc(&before, ' ');
    return add(opaque, before.data, path, " || exit 1\n", fail);
}

static int in_file(void *opaque, const char *path, const char *whole, unsigned mode,
                   struct failure *fail)
{
    struct one_by_one *x = opaque;
    auto_free char *to = xasprintf("%s/%s", x->to, path);
    auto_fclose FILE *file = fopen(whole, "rbe");
    struct stat st;

    if (!file || fstat(fileno(file), &st))
        return failure_errno(fail, CLI_USAGE, errno, "cannot read %s", whole);
    return make(x, fail) ? -1 : put_file(x->job, file, st.st_size, to, mode, fail);
}

static int in_one_by_one(struct job *job, const char *folder, const char *to, struct failure *fail)
{
    struct one_by_one x = {.job = job, .to = to};
    const struct bundle_visit visit = {in_file, in_folder, in_link, &x};
    int rc = add(&x, "mkdir -p ", "", " || exit 1\n", fail) || bundle_walk(folder, &visit, fail) ||
                     make(&x, fail)
                 ? -1
                 : 0;

    strbuf_done(&x.script);
    return rc;
}

/* ---- in ---- */

int transfer_in(struct job *job, const char *folder, const char *to, struct failure *fail)
{
    auto_fclose FILE *file = NULL;
    struct abilities can = {0};
    char archive[64];

    if (probe(job, &can, fail))
        return -1;
    if (!can.tar)
        return in_one_by_one(job, folder, to, fail);
    if (temporary(&file, fail) || bundle_pack(folder, can.gzip, file, fail))
        return -1;
    archive_name(archive);
    if (fseek(file, 0, SEEK_END))
        return failure_errno(fail, CLI_FAILED, errno, "cannot read a temporary file");
    int64_t size = ftell(file);
    const char *const arguments[] = {archive, to, can.gzip ? "gzip" : "plain", NULL};

    rewind(file);
    return put_file(job, file, size, archive, 0600, fail) ||
                   job_shell_check(job, unpack_script, arguments, PACK_S, fail)
               ? -1
               : 0;
}

/* ---- out ---- */

struct sink {
    FILE *file;
    uint64_t left;
    bool full;
};

static bool on_data(void *opaque, const char *data, size_t len)
{
    struct sink *s = opaque;

    s->full = len > s->left;
    if (s->full)
        return false;
    s->left -= len;
    return fwrite(data, 1, len, s->file) == len;
}

/* Adds the guest's file to `to`; not tried again, since half of it may be there already. */
static int get_file(struct job *job, const char *from, FILE *to, uint64_t *left, struct failure *fail)
{
    auto_free char *escaped = url_escape(from);
    auto_free char *path = xasprintf("/v1/vms/%s/files?path=%s", job->vm, escaped);
    struct sink sink = {.file = to, .left = *left};
    struct client_request r = {.path = path, .timeout_s = -1, .on_data = on_data, .opaque = &sink};
    auto_answer struct answer a = {0};

    if (client_do(job->cli->client, &r, &a, fail))
        return -1;
    *left = sink.left;
    if (sink.full)
        return failure_set(fail, CLI_FAILED, "what comes out of the guest is more than %llu MiB",
                           OUT_MAX >> 20);
    return fflush(to) || ferror(to)
               ? failure_errno(fail, CLI_FAILED, errno, "cannot write what comes out of the guest")
               : 0;
}

static int failed_in_guest(const struct answer *a, struct failure *fail)
{
    int status = exec_output_status(a->value);
    size_t len = 0;
    auto_free char *text = exec_output_bytes(a->value, "stderr", &len);

    while (text && len && text[len - 1] == '\n')
        text[--len] = '\0';
    return status == 0 ? 0
                       : failure_set(fail, status == NOT_THERE ? CLI_NOT_FOUND : CLI_FAILED,
                                     "the guest says: %s", text && *text ? text : "failed");
}

/* mkdir -p for the folders that lead to the last component of path. */
static int make_parents(const char *path, struct failure *fail)
{
    auto_free char *copy = xstrdup(path);

    for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(copy, 0777) && errno != EEXIST)
            return failure_errno(fail, CLI_USAGE, errno, "cannot make %s", copy);
        *p = '/';
    }
    return 0;
}

static int out_file(struct job *job, const char *from, const char *to, const char *name, uint64_t *left,
                    struct failure *fail)
{
    auto_free char *source = xasprintf("%s/%s", from, name), *path = xasprintf("%s/%s", to, name);
    auto_free char *fresh = xasprintf("%s.part", path);
    auto_fclose FILE *file = NULL;

    if (make_parents(path, fail))
        return -1;
    file = fopen(fresh, "wbxe"); /* never through a link */
    if (!file)
        return failure_errno(fail, CLI_FAILED, errno, "cannot make %s", fresh);
    if (get_file(job, source, file, left, fail)) {
        (void)unlink(fresh);
        return -1;
    }
    return rename(fresh, path) ? failure_errno(fail, CLI_FAILED, errno, "cannot write %s", path) : 0;
}

static int out_one_by_one(struct job *job, const char *directory, const char *from, const char *to,
                          struct failure *fail)
{
    const char *const arguments[] = {directory, from, NULL};
    auto_answer struct answer a = {0};
    auto_free char *text = NULL;
    uint64_t left = OUT_MAX;
    char *save = NULL, *where;
    size_t len;

    if (job_shell(job, list_script, arguments, STEP_S, &a, fail) || failed_in_guest(&a, fail))
        return -1;
    text = exec_output_bytes(a.value, "stdout", &len);
    where = text ? strtok_r(text, "\n", &save) : NULL;
    if (!where || value_true(a.value, "stdout_truncated"))
        return failure_set(fail, CLI_FAILED, "the guest has too many files to list, and no tar");
    for (char *name; (name = strtok_r(NULL, "\n", &save));) {
        name += str_starts(name, "./") ? 2 : 0;
        if (bundle_name_is_safe(name) && out_file(job, where, to, name, &left, fail))
            return -1;
    }
    return 0;
}

int transfer_out(struct job *job, const char *directory, const char *from, const char *to,
                 struct failure *fail)
{
    auto_free char *inside = xasprintf("%s/", to);
    auto_fclose FILE *file = NULL;
    struct abilities can = {0};
    char archive[64];
    uint64_t left = OUT_MAX;
    int rc;

    if (make_parents(inside, fail) || probe(job, &can, fail))
        return -1;
    if (!can.tar)
        return out_one_by_one(job, directory, from, to, fail);
    archive_name(archive);
    const char *const arguments[] = {directory, from, archive, can.gzip ? "gzip" : "plain", NULL};
    const char *const done[] = {archive, NULL};
    auto_answer struct answer a = {0};
    struct failure ignored;

    if (temporary(&file, fail) || job_shell(job, pack_script, arguments, PACK_S, &a, fail) ||
        failed_in_guest(&a, fail))
        return -1;
    rc = get_file(job, archive, file, &left, fail);
    (void)job_shell_check(job, remove_script, done, STEP_S, &ignored);
    rewind(file);
    return rc ? -1 : bundle_unpack(file, to, OUT_MAX, fail);
}
