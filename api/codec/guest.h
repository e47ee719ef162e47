/* Guests as JSON: what an agent told, programs to run and what became of them. */
#ifndef DROVER_API_CODEC_GUEST_H
#define DROVER_API_CODEC_GUEST_H

#include <jansson.h>

#include "service/base/error.h"
#include "service/vm/exec.h"
#include "service/vm/guest.h"
#include "service/vm/guest_address.h"

json_t *codec_guest(const struct guest_info *info);
json_t *codec_guest_filesystems(const struct guest_filesystem *list, size_t count);
json_t *codec_guest_figures(const struct guest_figures *f);
json_t *codec_dirty_rate(const struct guest_dirty *d);
json_t *codec_guest_addresses(const struct guest_found *found);
json_t *codec_guest_exec(const struct guest_exec *exec);
json_t *codec_exec(const struct exec_info *exec);

/* Bodies; VALIDATION_FAILED with a pointer. */

/* Fills an empty one. */
int codec_decode_exec(const json_t *body, struct guest_exec *ret, struct error *err);

/* *ret_seconds stays when the body does not say. */
int codec_decode_dirty_rate(const json_t *body, int64_t *ret_seconds, struct error *err);

struct codec_freeze {
    int64_t seconds;
};
int codec_decode_freeze(const json_t *body, struct codec_freeze *ret, struct error *err);

struct codec_password {
    char *user, *password;
    bool crypted;
};
int codec_decode_password(const json_t *body, struct codec_password *ret, struct error *err);
void codec_password_done(struct codec_password *p);

#define CODEC_KEYS_MAX 64
struct codec_ssh_keys {
    char *user;
    char *keys[CODEC_KEYS_MAX];
    size_t count;
    bool replace;
};
int codec_decode_ssh_keys(const json_t *body, struct codec_ssh_keys *ret, struct error *err);
void codec_ssh_keys_done(struct codec_ssh_keys *k);

#endif
