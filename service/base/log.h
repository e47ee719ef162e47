/*
 * One line per event on stderr, with a systemd priority prefix ("<3>") and a key=value tail.
 * Control characters are escaped, so client data cannot forge a line.
 *
 * Any thread. Functions below the edges never log above debug; see HACKING.md.
 */
#ifndef DROVER_BASE_LOG_H
#define DROVER_BASE_LOG_H

#include <stdbool.h>

/* sd-daemon(3) levels. */
enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

struct error;

void log_set_level(enum log_level level);
/* "error", "warning", "info" or "debug"; anything else leaves it as it is. */
void log_set_level_named(const char *name);
bool log_enabled(enum log_level level);
/* The request the calling thread is serving, added as request=ID to its lines; NULL for none. */
void log_set_request(const char *request_id);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...)   log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_at(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                  \
    } while (0)

/* "what: detail code=... cause=..." */
void log_failure(enum log_level level, const struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
