/*
 * The NoCloud seed: a small ISO image labelled cidata, from which cloud-init takes who this machine
 * is and what it is to do at its first boot. Made in the process with libarchive.
 */
#ifndef DROVER_VM_SEED_H
#define DROVER_VM_SEED_H

#include "service/base/error.h"
#include "service/vm/spec.h"

/*
 * meta-data and network-config are JSON, which is YAML, so that no text of a client's can become
 * part of their structure; the caller frees. user-data is the client's own, as it is.
 */
struct seed_identity {
    const char *instance_id;   /* cloud-init runs its first boot again when it is another one */
    const char *set, *machine; /* of a set's member: what user data can refer to; or NULL */
    int64_t member;
};
char *seed_meta_data(const struct vm_spec *spec, const struct seed_identity *identity);
char *seed_network_config(const struct vm_spec *spec);

/* Writes the image complete or not at all; an older one is replaced. */
int seed_write(const char *path, const struct vm_spec *spec, const struct seed_identity *identity,
               struct error *err);

/* The user data of a seed, the caller's; NULL: it has none. IMAGE_REFUSED for what is no seed of ours. */
int seed_read_user_data(const char *path, char **ret, struct error *err);

/*
 * The SSH keys as a credential for systemd (SMBIOS type 11 string; caller frees), for guests without
 * cloud-init; NULL: none, or too long for that.
 */
char *seed_smbios_keys(const struct vm_spec *spec);

#endif
