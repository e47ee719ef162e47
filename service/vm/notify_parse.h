/* What a guest says in one message of systemd's notification protocol. Pure; nothing in it is trusted. */
#ifndef DROVER_VM_NOTIFY_PARSE_H
#define DROVER_VM_NOTIFY_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#define NOTIFY_MESSAGE_MAX 4096

struct notify_message {
    bool ready;       /* READY=1 */
    bool unit;        /* X_SYSTEMD_UNIT_ACTIVE=…: its service manager works */
    bool has_status;  /* STATUS=… */
    char status[128]; /* printable UTF-8 */
};

/* Lines of NAME=VALUE; those it does not know are passed over. false: this is no such message. */
bool notify_parse(const char *data, size_t len, struct notify_message *ret);

#endif
