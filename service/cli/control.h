/*
 * Who holds a console's keyboard, as drover.console.v1 tells it, and the keys that ask for it, take
 * it and give it back.
 *
 * Main thread only.
 */
#ifndef DROVER_CLI_CONTROL_H
#define DROVER_CLI_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include "service/cli/value.h"

#define CONTROL_NO_KEY (-1)
#define CONTROL_ID_MAX 32

struct control {
    int key; /* what begins a command, or CONTROL_NO_KEY */
    const char *key_name;
    /* Tells the user; text is safe to print. */
    void (*say)(void *opaque, const char *text);
    void *opaque;

    bool live, prefixed, views, told_refused;
    char own[CONTROL_ID_MAX], holder[CONTROL_ID_MAX], asker[CONTROL_ID_MAX];
    bool exclusive;
    json_t *viewers; /* the last list */
    char text[128];  /* a frame that waits to be sent, or "" */
};

void control_done(struct control *c);
/* A new connection: what was known of the last one goes. */
void control_reset(struct control *c);
/* A control message from the server. */
void control_message(struct control *c, const json_t *message);
/* Takes commands out of what was typed; returns how many bytes are left, at the start of data. */
size_t control_keys(struct control *c, char *data, size_t len);
/* As struct socket_options wants it; NULL when nothing is to be sent. */
const char *control_next_text(struct control *c);

#endif
