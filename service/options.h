/*
 * The command line of droverd: settings by name, a configuration file, and a few verbs. Main
 * thread only.
 */
#ifndef DROVER_SERVICE_OPTIONS_H
#define DROVER_SERVICE_OPTIONS_H

#include <stdbool.h>

#include "service/base/error.h"
#include "service/conf/settings.h"

enum options_verb { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_DUMP, OPTIONS_CHECK, OPTIONS_DATABASE };

struct options {
    enum options_verb verb;
    const char *dump;        /* OPTIONS_DUMP: routes, errors, settings or metrics */
    const char *config_path; /* or NULL */
    const char *database, *copy; /* OPTIONS_DATABASE: what to do, and with which file (NULL: the usual one) */
    const char *install_id;      /* of a database that is rebuilt; or NULL */
    bool force;                  /* rebuild what is not damaged */
    struct settings *settings; /* owned by the caller */
};

/* The file first, then the arguments over it. CONFIG errors name the argument in pointer. */
int options_parse(int argc, char **argv, struct options *ret, struct error *err);
void options_help(void);

#endif
