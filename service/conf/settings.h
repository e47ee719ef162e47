/*
 * The daemon's settings: one table (settings.def), one struct. Read before threads start; a reload
 * changes numbers in it while other threads read them, so these are atomic.
 */
#ifndef DROVER_CONF_SETTINGS_H
#define DROVER_CONF_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"

#define SETTINGS_TYPE_STRING char *
#define SETTINGS_TYPE_INT    _Atomic int64_t
#define SETTINGS_TYPE_BOOL   _Atomic bool

struct settings {
#define S(type, name, def, min, max, reloadable, help) SETTINGS_TYPE_##type name;
#include "service/conf/settings.def"
#undef S
};

enum settings_kind { SETTINGS_STRING, SETTINGS_INT, SETTINGS_BOOL };

struct settings_row {
    const char *name;
    enum settings_kind kind;
    const char *default_text;
    int64_t min, max;
    bool reloadable;
    const char *help;
};

struct settings *settings_new(void); /* all defaults */
void settings_free(struct settings *s);
DEFINE_CLEANUP(settings, struct settings *, settings_free);
#define auto_settings auto_scope(cleanup_settings)

/* CONFIG errors name the setting in pointer. */
int settings_set(struct settings *s, const char *name, const char *value, struct error *err);
/* `name = value` lines, # comments; an unknown name is an error with file and line. */
int settings_load(struct settings *s, const char *path, struct error *err);
/*
 * Copies the reloadable members of from into s; the others stay. Other threads may be reading s:
 * numbers change atomically, and the only reloadable text (log_level) is read by main alone.
 */
void settings_reload(struct settings *s, const struct settings *from);

/* The table, ended by a row with a NULL name. */
const struct settings_row *settings_rows(void);
/* The value as text; caller frees. */
char *settings_text(const struct settings *s, const char *name);

#endif
