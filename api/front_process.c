/*
 * In a front: the main thread. Starts, shuts itself in, and does what the core orders.
 */
#include "api/front_process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/front_core.h"
#include "api/ws.h"
#include "service/base/log.h"
#include "service/base/sandbox.h"
#include "service/base/str.h"
#include "service/conf/settings.h"

/*
 * What stays open to be read: what libraries begin with, and the folders of what is read again when a certificate is
 * renewed, since a renewal puts another file there.
 */
static int shut_files(const struct settings *s, struct error *err)
{
    const char *const files[] = {s->tls_certificate, s->tls_key, s->tls_client_ca};
    const char *paths[5] = {"/dev/urandom"};
    char folders[3][512];
    size_t count = 1;

    for (size_t i = 0; i < 3; i++) {
        char *slash;

        if (!*files[i])
            continue;
        snprintf(folders[i], sizeof(folders[i]), "%s", files[i]);
        slash = strrchr(folders[i], '/');
        if (slash)
            slash[slash == folders[i]] = '\0'; /* of "/file", the root itself */
        paths[count++] = slash ? folders[i] : ".";
    }
    return sandbox_files(paths, err);
}

static int serve(struct core_link *core, const int *listeners, int count, unsigned ping_seconds,
                 unsigned hangup_seconds, struct error *err)
{
    if (core_link_settings(core, err) < 0 || shut_files(core->settings, err) < 0 ||
        core_link_serve(core, listeners, count, ping_seconds, hangup_seconds, err) < 0 || sandbox_calls(err) < 0)
        return -1;
    core_link_ready(core);
    return 0;
}

int front_process(int link_fd, int counts_fd, const int *listeners, int count, unsigned ping_seconds,
                  unsigned hangup_seconds)
{
    struct front_counts *counts =
        mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, counts_fd, 0);
    struct core_link *core;
    struct error err;

    close(counts_fd);
    if (counts == MAP_FAILED)
        return 1;
    core = core_link_new(link_fd, counts);
    if (serve(core, listeners, count, ping_seconds, hangup_seconds, &err) < 0) {
        core_link_failed(core, &err);
        _exit(1); /* some of what was begun may go on */
    }
    for (;;) {
        int orders = core_link_wait(core);

        if (orders & ORDER_RELOAD)
            http_reload(core->http);
        if (orders & ORDER_QUIESCE)
            http_quiesce(core->http);
        if (orders & ORDER_STOP)
            break;
    }
    http_quiesce(core->http);
    ws_stop(core->ws);
    http_stop(core->http);
    core_link_free(core);
    munmap(counts, sizeof(*counts));
    return 0;
}
