/*
 * Which server: from options, environment, and the file of contexts (~/.config/drover/contexts), a
 * name for each server that somebody uses. Tokens are in that file, so it is refused when others
 * could read it, and a context's token goes to no other server than the context's.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_CONTEXT_H
#define DROVER_CLI_CONTEXT_H

#include <stdbool.h>

#include "service/cli/client.h"
#include "service/cli/failure.h"
#include "service/cli/value.h"

#define CONTEXT_LOCAL "local" /* always there: this host's Unix socket */

/* {"current": NAME, "contexts": {NAME: {"url", "socket", "token"}}}; an absent file is an empty one. */
int contexts_load(json_t **ret, struct failure *fail);
/* Writes it for this user's eyes only, making the directory if need be. */
int contexts_save(const json_t *contexts, struct failure *fail);
/* Where the file is; NULL when there is no home directory. The caller frees it. */
char *contexts_path(void);
/* Fails unless a context could have this name. Pure. */
int context_check_name(const char *name, struct failure *fail);

/* As given on the command line and in the environment; NULL where nothing was. */
struct context_given {
    const char *url, *socket, *token, *context;
    const char *env_url, *env_token, *env_context, *env_state_dir;
};

struct context_choice {
    char *name;   /* of the context, or NULL: the server was named itself */
    char *url, *socket, *token;
    const char *by, *token_by; /* in words: "--url", "DROVER_CONTEXT", "drover context use"… */
};

void context_choice_done(struct context_choice *c);
#define auto_context_choice auto_scope(context_choice_done)

/*
 * The order: --url or --socket; --context; DROVER_URL; DROVER_CONTEXT; DROVER_STATE_DIR; what
 * `context use` chose; this host's socket. Reads the file only when it gets that far.
 */
int context_choose(const struct context_given *given, struct context_choice *ret, struct failure *fail);

#endif
