/*
 * The user's terminal in raw mode, and back again on every way out: return, exit(), a signal that
 * ends the process, a crash. Main thread only; one terminal per process.
 */
#ifndef DROVER_CLI_TERMINAL_H
#define DROVER_CLI_TERMINAL_H

#include <stdbool.h>

/* False when fd is no terminal (nothing is changed then). */
bool terminal_raw(int fd);
/* Keys as they are pressed, unseen; signals and lines that are printed stay. False as above. */
bool terminal_keys(int fd);
/* Back to how it was; harmless when it is not raw. Async-signal-safe. */
void terminal_restore(void);
/*
 * A line that is typed unseen, without its newline; NULL when the terminal cannot be asked. The
 * caller frees it, and wipes it.
 */
char *terminal_ask_secret(const char *prompt);
/* Columns of the terminal behind fd, or 0 when it is none. */
unsigned terminal_columns(int fd);
/* Its rows, likewise. */
unsigned terminal_rows(int fd);

#endif
