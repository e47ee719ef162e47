/*
 * A pipe's inside, shared by console_pipe.c (its life) and console_pipe_io.c (its bytes) only.
 */
#ifndef DROVER_VM_CONSOLE_PIPE_H
#define DROVER_VM_CONSOLE_PIPE_H

#include "service/vm/console_internal.h"
#include "service/vm/console_rfb.h"

#define PIPE_MAGIC 0x50495045u

struct pipe {
    struct source source; /* first */
    uint32_t magic;
    struct watch watch;
    struct console_hub *hub; /* a reference */
    char *vm_id, *stream, *who, *name, *rights;
    enum console_kind kind;
    enum console_mode mode;
    enum console_protocol protocol;
    uint64_t id;
    LIST_ENTRY(pipe) link; /* hub->lock */
    STAILQ_ENTRY(pipe) dead_link;
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* the last call of notify returned */
    /* lock: */
    int fd;
    uint32_t armed; /* what the console thread waits for */
    void (*notify)(void *opaque);
    void *opaque;
    unsigned notifying;
    bool draining, ended; /* what has arrived is still read; nothing is */
    int end_code;
    const char *end_reason;
    bool guest_done, client_done; /* the end of file of each direction */
    /* drover.console.v1 */
    bool hello_sent, eof_sent;
    size_t reply_len;
    char reply[256];
    /* CONSOLE_VIEW of a display: the client's bytes that passed and were not taken yet */
    struct rfb_filter filter;
    size_t passed_at, passed_len;
    unsigned char *passed;
};

struct pipe *pipe_from(struct source *source);
/* Calls notify; the caller has counted itself in p->notifying, which keeps p. */
void pipe_tell(struct pipe *p);
ssize_t pipe_read(struct source *source, void *buf, size_t max, enum source_kind *ret_kind);
ssize_t pipe_write(struct source *source, enum source_kind kind, const void *data, size_t len);

#endif
