/*
 * What drover-front does: everything, until the core has it end.
 */
#ifndef DROVER_API_FRONT_PROCESS_H
#define DROVER_API_FRONT_PROCESS_H

/* Takes the descriptors. The exit status; or does not return when the core has gone. */
int front_process(int link_fd, int counts_fd, const int *listeners, int count, unsigned ping_seconds,
                  unsigned hangup_seconds);

#endif
