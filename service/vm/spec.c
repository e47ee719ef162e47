/*
 * A VM's definition: ownership, names, comparison. Reading and writing it as JSON is spec_json.c.
 */
#include "service/vm/spec_internal.h"

#include <stdatomic.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"

static bool is_alnum_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool vm_spec_name_ok(const char *name)
{
    size_t len = strlen(name);

    if (len < 1 || len > VM_NAME_MAX || !is_alnum_lower(name[0]) || !is_alnum_lower(name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum_lower(name[i]) && name[i] != '-')
            return false;
    }
    /* An id is looked up before a name, so a name must not look like one. */
    return !uuid_is_valid(name);
}

/* Kinds that OpenSSH knows; options before the kind would be somebody else's commands. */
bool vm_spec_ssh_key_ok(const char *text)
{
    static const char *const kinds[] = {"ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp256 ",
                                        "ecdsa-sha2-nistp384 ", "ecdsa-sha2-nistp521 ",
                                        "sk-ssh-ed25519@openssh.com ",
                                        "sk-ecdsa-sha2-nistp256@openssh.com "};
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const char *blob = NULL;
    size_t len;

    if (strlen(text) > VM_SSH_KEY_MAX)
        return false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (str_starts(text, kinds[i]))
            blob = text + strlen(kinds[i]);
    }
    if (!blob)
        return false;
    len = strspn(blob, base64);
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    }
    return len >= 40 && (blob[len] == '\0' || blob[len] == ' ');
}

const char *vm_host_shutdown_name(int action)
{
    static const char *const names[] = {"shutdown", "save", "leave"};

    return names[action];
}

const char *vm_acceleration_name(int acceleration)
{
    static const char *const names[] = {"auto", "kvm", "emulated"};

    return names[acceleration];
}

struct vm_spec *vm_spec_ref(struct vm_spec *spec)
{
    atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

void vm_spec_unref(struct vm_spec *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(spec->name);
    free(spec->description);
    for (size_t i = 0; i < spec->label_count; i++) {
        free(spec->labels[i].key);
        free(spec->labels[i].value);
    }
    free(spec->labels);
    free(spec->machine);
    free(spec->image);
    free(spec->cmdline);
    free(spec->ready_pattern);
    for (size_t i = 0; i < spec->network_count; i++) {
        free(spec->networks[i].source);
        free(spec->networks[i].mac);
        free(spec->networks[i].address);
        free(spec->networks[i].gateway);
        for (size_t j = 0; j < spec->networks[i].nameserver_count; j++)
            free(spec->networks[i].nameservers[j]);
    }
    for (size_t i = 0; i < spec->channel_count; i++)
        free(spec->channels[i]);
    free(spec->user_data);
    for (size_t i = 0; i < spec->ssh_key_count; i++)
        free(spec->ssh_keys[i]);
    free(spec);
}

const char *vm_spec_label(const struct vm_spec *spec, const char *key)
{
    for (size_t i = 0; i < spec->label_count; i++) {
        if (strcmp(spec->labels[i].key, key) == 0)
            return spec->labels[i].value;
    }
    return NULL;
}

static bool same_disks(const struct vm_spec *a, const struct vm_spec *b)
{
    if (a->root_disk_gib != b->root_disk_gib || a->disk_count != b->disk_count)
        return false;
    for (size_t i = 0; i < a->disk_count; i++) {
        if (a->disks[i].size_gib != b->disks[i].size_gib)
            return false;
    }
    return true;
}

static bool same_networks(const struct vm_spec *a, const struct vm_spec *b)
{
    if (a->network_count != b->network_count)
        return false;
    for (size_t i = 0; i < a->network_count; i++) {
        if (a->networks[i].mode != b->networks[i].mode ||
            !str_eq(a->networks[i].source, b->networks[i].source) ||
            !str_eq(a->networks[i].mac, b->networks[i].mac))
            return false;
    }
    return true;
}

static bool same_channels(const struct vm_spec *a, const struct vm_spec *b)
{
    if (a->channel_count != b->channel_count)
        return false;
    for (size_t i = 0; i < a->channel_count; i++) {
        if (strcmp(a->channels[i], b->channels[i]) != 0)
            return false;
    }
    return true;
}

bool vm_spec_needs_stop(const struct vm_spec *a, const struct vm_spec *b)
{
    return a->cpus != b->cpus || a->memory_mib != b->memory_mib || a->firmware != b->firmware ||
           a->acceleration != b->acceleration || a->guest_agent != b->guest_agent ||
           a->vsock != b->vsock || a->serial_ports != b->serial_ports || a->display != b->display ||
           a->memory_merge != b->memory_merge || !str_eq(a->name, b->name) ||
           !str_eq(a->machine, b->machine) || !str_eq(a->image, b->image) ||
           !str_eq(a->cmdline, b->cmdline) || !same_disks(a, b) || !same_networks(a, b) ||
           !same_channels(a, b) || !vm_spec_same_seed(a, b);
}
