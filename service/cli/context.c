/* The file of contexts, and the choice of a server. Sends nothing. */
#include "service/cli/context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/cli/yamldoc.h"

#define DEFAULT_STATE_DIR "/var/lib/drover"
#define FILE_MAX          ((size_t)1 << 20)
#define NAME_MAX_LEN      63

/* ---- the file ---- */

static char *config_dir(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (config && *config == '/')
        return xstrdup(config);
    return home && *home == '/' ? xasprintf("%s/.config", home) : NULL;
}

char *contexts_path(void)
{
    auto_free char *dir = config_dir();

    return dir ? xasprintf("%s/drover/contexts", dir) : NULL;
}

/* 1 there and private, 0 not there. */
static int check_private(const char *path, struct failure *fail)
{
    struct stat st;

    if (stat(path, &st))
        return errno == ENOENT || errno == ENOTDIR
                   ? 0 : failure_errno(fail, CLI_USAGE, errno, "cannot read %s", path);
    if (st.st_mode & 077) {
        failure_set(fail, CLI_USAGE, "%s can be read by others, and there may be tokens in it", path);
        failure_remedy(fail, "chmod 600 %s; and revoke the tokens if others use this machine", path);
        return -1;
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        failure_set(fail, CLI_USAGE, "%s belongs to somebody else", path);
        failure_remedy(fail, "set HOME (sudo -H), or say which server: --url or --socket");
        return -1;
    }
    return 1;
}

static int check_shape(const char *path, const json_t *file, struct failure *fail)
{
    const json_t *contexts = json_object_get(file, "contexts"), *current = json_object_get(file, "current");
    const char *name;
    json_t *one;

    if (!json_is_object(contexts) || (current && !json_is_string(current)))
        return failure_set(fail, CLI_USAGE, "%s must have a mapping `contexts` and may have a name `current`", path);
    json_object_foreach((json_t *)(uintptr_t)contexts, name, one) {
        bool url = value_text(one, "url", NULL), socket = value_text(one, "socket", NULL);

        if (url == socket)
            return failure_set(fail, CLI_USAGE, "%s: the context %s must have either url or socket", path, name);
    }
    return 0;
}

int contexts_load(json_t **ret, struct failure *fail)
{
    auto_free char *path = contexts_path(), *text = NULL;
    auto_value json_t *documents = NULL;
    struct error err = ERROR_INIT;
    size_t len;
    int there = path ? check_private(path, fail) : 0;

    if (there < 0)
        return -1;
    there = there ? file_read(path, FILE_MAX, &text, &len, &err) : 0;
    if (there < 0)
        return failure_from_error(fail, &err);
    if (there && yamldoc_read(path, text, len, &documents, fail))
        return -1;
    if (json_array_size(documents) == 0) {
        *ret = json_pack("{s:{}}", "contexts");
        return 0;
    }
    if (check_shape(path, json_array_get(documents, 0), fail))
        return -1;
    *ret = json_incref(json_array_get(documents, 0));
    return 0;
}

int contexts_save(const json_t *contexts, struct failure *fail)
{
    auto_free char *config = config_dir(), *path = contexts_path(), *target = NULL, *text = NULL;
    auto_free char *dir = config ? xasprintf("%s/drover", config) : NULL;
    struct error err = ERROR_INIT;
    size_t len = 0;
    FILE *out;
    int rc;

    if (!path)
        return failure_set(fail, CLI_USAGE, "there is no home directory to write to: set HOME");
    if (dir_ensure(config, 0700, &err) || dir_ensure(dir, 0700, &err))
        return failure_from_error(fail, &err);
    out = open_memstream(&text, &len);
    if (!out || !yamldoc_write(contexts, false, out) || fclose(out))
        abort();
    target = realpath(path, NULL); /* who keeps the file elsewhere behind a link keeps the link */
    rc = file_write_atomic(target ? target : path, text, len, 0600, &err);
    explicit_bzero(text, len);
    return rc ? failure_from_error(fail, &err) : 0;
}

int context_check_name(const char *name, struct failure *fail)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (str_eq(name, CONTEXT_LOCAL))
        return failure_set(fail, CLI_USAGE, "%s is always there: it is this host's own socket", CONTEXT_LOCAL);
    if (!*name || name[len] || len > NAME_MAX_LEN || *name == '-')
        return failure_set(fail, CLI_USAGE, "a context's name has 1 to %d letters, digits, '.', '_' and '-'",
                           NAME_MAX_LEN);
    return 0;
}

/* ---- the choice ---- */

void context_choice_done(struct context_choice *c)
{
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    free(c->name);
    free(c->url);
    free(c->socket);
    free(c->token);
    *c = (struct context_choice){0};
}

static void own_socket(const struct context_given *given, struct context_choice *c)
{
    c->socket = xasprintf("%s/drover.sock", given->env_state_dir ? given->env_state_dir : DEFAULT_STATE_DIR);
}

static void set_token(struct context_choice *c, const char *token, const char *by)
{
    if (!token || c->token)
        return;
    c->token = xstrdup(token);
    c->token_by = by;
}

static int from_file(const struct context_given *given, const json_t *file, const char *name,
                     const char *by, struct context_choice *c, struct failure *fail)
{
    const json_t *one = json_object_get(json_object_get(file, "contexts"), name);

    c->by = by;
    c->name = xstrdup(name);
    if (str_eq(name, CONTEXT_LOCAL)) {
        own_socket(given, c);
        return 0;
    }
    if (!one) {
        failure_set(fail, CLI_USAGE, "there is no context '%s' (%s)", name, by);
        failure_remedy(fail, "drover context list");
        return -1;
    }
    c->url = xstrdup_null(value_text(one, "url", NULL));
    c->socket = xstrdup_null(value_text(one, "socket", NULL));
    set_token(c, value_text(one, "token", NULL), "the context");
    return 0;
}

int context_choose(const struct context_given *given, struct context_choice *ret, struct failure *fail)
{
    auto_context_choice struct context_choice c = {0};
    auto_value json_t *file = NULL;
    const char *name = given->context, *by = "--context";
    bool explicit_server = given->url || given->socket;

    if (given->url && given->socket)
        return failure_set(fail, CLI_USAGE, "--url and --socket exclude each other");
    if (given->context && explicit_server)
        return failure_set(fail, CLI_USAGE, "--context and %s exclude each other",
                           given->url ? "--url" : "--socket");
    set_token(&c, given->token, "the command line");
    if (!explicit_server && !name && !given->env_url && given->env_context) {
        name = given->env_context;
        by = "DROVER_CONTEXT";
    }
    if (!explicit_server && !given->env_url && !name && !given->env_state_dir) {
        if (contexts_load(&file, fail))
            return -1;
        name = value_text(file, "current", NULL);
        by = "drover context use";
    }
    if (name) {
        if ((!file && contexts_load(&file, fail)) || from_file(given, file, name, by, &c, fail))
            return -1;
    } else if (given->socket) {
        c.socket = xstrdup(given->socket);
        c.by = "--socket";
    } else if (given->url || given->env_url) {
        c.url = xstrdup(given->url ? given->url : given->env_url);
        c.by = given->url ? "--url" : "DROVER_URL";
    } else {
        own_socket(given, &c);
        c.by = given->env_state_dir ? "DROVER_STATE_DIR" : "nothing else is said";
    }
    if (!name || str_eq(name, CONTEXT_LOCAL)) /* else it would go to another server than it is for */
        set_token(&c, given->env_token, "DROVER_TOKEN");
    *ret = c;
    c = (struct context_choice){0};
    return 0;
}
