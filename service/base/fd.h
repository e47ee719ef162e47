/*
 * File descriptors and files: close-on-exec everywhere, whole reads and writes, files that appear
 * complete or not at all. Any thread. All paths are the daemon's own; never a client's.
 */
#ifndef DROVER_BASE_FD_H
#define DROVER_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "service/base/error.h"

int fd_set_nonblock(int fd, struct error *err);
/* A connected, non-blocking AF_UNIX stream pair. */
int fd_socketpair(int ret[2], struct error *err);
/*
 * Wakes who polls this eventfd. A refusal is tried again: somebody waits for the one who would not hear it, a stop
 * or a start for ever. Does not block; -1 with errno when it was refused each time.
 */
int fd_wake(int eventfd);
int fd_write_all(int fd, const void *data, size_t len, struct error *err);

/* Reads at most max bytes into a NUL-terminated buffer the caller frees; 1 ok, 0 no such file, -1. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct error *err);
/* The same relative to a directory descriptor, for /sys and /proc; no error text, -1 sets errno. */
ssize_t file_read_at(int dirfd, const char *path, char *buf, size_t size);
/* Writes a temporary neighbour, fsyncs it, renames it into place and fsyncs the directory. */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                      struct error *err);
/* mkdir -p for the last component only, with this mode whatever the umask; an existing directory is
 * fine and left as it is. */
int dir_ensure(const char *path, mode_t mode, struct error *err);
/* fsync of the directory that holds path, so that a rename or link in it survives a power cut. */
int dir_sync(const char *path, struct error *err);
/* unlink; a missing file is fine. */
int file_remove(const char *path, struct error *err);
bool file_exists(const char *path);

#endif
