/*
 * What libmicrohttpd alone can do: the same bytes and headers as GET /v1/vms/{vm}, with no check of
 * anything. The yardstick for the benchmark, so that its figures are ratios of one run.
 *
 *     bare_mhd PORT [FILE]
 *     bare_mhd PORT --keep FILE
 *
 * FILE holds the body; without it, a VM as the API shows one. With --keep, what is sent to it is written to
 * FILE, hashed and synced before the answer: the least that a server which keeps uploads does.
 */
#include <fcntl.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/base/hash.h"

static char body[65536] =
    "{\"id\":\"0b7f6a52-4a3e-4c57-9d0e-5f1c2a8e7b11\",\"name\":\"web-1\",\"description\":\"\","
    "\"labels\":{\"ci.job\":\"4711\"},\"cpus\":2,\"memory_mib\":512,\"machine\":\"q35\","
    "\"firmware\":\"bios\",\"acceleration\":\"auto\",\"image\":\"demo\",\"root_disk_gib\":10,"
    "\"disks\":[{\"size_gib\":5}],\"networks\":[{\"mode\":\"user\",\"mac\":\"02:00:00:00:00:01\"}],"
    "\"channels\":[\"org.example.0\"],\"guest_agent\":true,\"vsock\":true,\"display\":false,"
    "\"memory_merge\":true,\"autostart\":false,\"state\":\"running\",\"state_reason\":\"started\","
    "\"effective_acceleration\":\"kvm\",\"acceleration_reason\":null,\"pending_changes\":false,"
    "\"etag\":\"7\",\"created_at\":\"2026-01-31T12:00:00.000Z\","
    "\"updated_at\":\"2026-01-31T12:00:00.000Z\",\"started_at\":\"2026-01-31T12:00:01.000Z\"}";
static size_t body_len;

static const char *keep; /* or NULL */
static struct hash *hash;
static int fd = -1;

static void keep_data(const char *data, size_t size)
{
    if (fd < 0) {
        fd = open(keep, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        hash = hash_new(HASH_SHA256);
    }
    hash_add(hash, data, size);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
}

static void keep_end(void)
{
    char digest[SECRET_SHA256_TEXT];

    if (fd < 0)
        return;
    hash_finish(hash, digest);
    hash_free(hash);
    if (fsync(fd) || close(fd))
        abort();
    fd = -1;
}

static enum MHD_Result answer(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **con_cls)
{
    static int seen;
    struct MHD_Response *r;
    enum MHD_Result rc;

    (void)cls;
    (void)url;
    (void)method;
    (void)version;
    if (!*con_cls) {
        *con_cls = &seen;
        return MHD_YES;
    }
    if (*size) {
        if (keep)
            keep_data(data, *size);
        *size = 0;
        return MHD_YES;
    }
    keep_end();
    r = MHD_create_response_from_buffer(body_len, body, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(r, "Content-Type", "application/json");
    MHD_add_response_header(r, "X-Request-Id", "AbCdEfGhIj-1f");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "ETag", "\"7\"");
    rc = MHD_queue_response(connection, MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return rc;
}

int main(int argc, char **argv)
{
    struct MHD_Daemon *d;
    sigset_t signals;
    int sig;

    if (argc < 2)
        return 2;
    body_len = strlen(body);
    if (argc == 4 && strcmp(argv[2], "--keep") == 0) {
        keep = argv[3];
    } else if (argc > 2) {
        FILE *f = fopen(argv[2], "re");

        if (!f)
            return 1;
        body_len = fread(body, 1, sizeof(body), f);
        fclose(f);
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, (unsigned short)atoi(argv[1]), NULL, NULL,
                         answer, NULL, MHD_OPTION_CONNECTION_LIMIT, 1024U, MHD_OPTION_END);
    if (!d)
        return 1;
    puts("listening");
    fflush(stdout);
    sigwait(&signals, &sig);
    MHD_stop_daemon(d);
    return 0;
}
