/*
 * A signal that asks this program to end (SIGINT, SIGTERM, SIGHUP), turned into a question, for
 * commands that have something to give back before they go. A second one ends it at once.
 *
 * interrupt_watch: main thread. interrupt_signal: any thread.
 */
#ifndef DROVER_CLI_INTERRUPT_H
#define DROVER_CLI_INTERRUPT_H

/* From here on; SIGPIPE is ignored, too, so that a reader who went away is a failed write. */
void interrupt_watch(void);
/* The signal that came, or 0. */
int interrupt_signal(void);

#endif
