/* A server for one program's tests: it says the same to each client, whatever was asked. */
#ifndef DROVER_TESTS_UNIT_NET_RECEIVER_H
#define DROVER_TESTS_UNIT_NET_RECEIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define RECEIVER_LONG (256 * 1024)

struct receiver {
    const char *head; /* what it says; NULL: nothing */
    size_t body;      /* and so many bytes more, RECEIVER_LONG at most */
    bool keeps;       /* it neither answers nor hangs up */
    int fd, port;
    pthread_t thread;
};

/* On loopback; receiver_end() stops it. */
void receiver_begin(struct receiver *r);
void receiver_end(struct receiver *r);

#endif
