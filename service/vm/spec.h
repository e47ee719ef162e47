/*
 * A VM's definition: what a client sends and what is stored. Values only; immutable once decoded
 * and shared by reference count. Any thread.
 */
#ifndef DROVER_VM_SPEC_H
#define DROVER_VM_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"

#define VM_NAME_MAX      63
#define VM_LABELS_MAX    64
#define VM_DISKS_MAX     8
#define VM_NETWORKS_MAX  8
#define VM_CHANNELS_MAX  8
#define VM_NAMESERVERS_MAX 3
#define VM_SSH_KEYS_MAX  64
#define VM_SSH_KEY_MAX   8192
#define VM_USER_DATA_MAX (256 * 1024)
#define VM_SERIALS_MAX   4
#define VM_PATTERN_MAX   128

enum vm_firmware { VM_FIRMWARE_BIOS, VM_FIRMWARE_UEFI };
enum vm_acceleration { VM_ACCELERATION_AUTO, VM_ACCELERATION_KVM, VM_ACCELERATION_EMULATED };
/* What becomes of a running VM when the guests of the host are shut down, see host_stop.h. */
enum vm_host_shutdown { VM_HOST_SHUTDOWN_SHUTDOWN, VM_HOST_SHUTDOWN_SAVE, VM_HOST_SHUTDOWN_LEAVE };
enum vm_network_mode { VM_NETWORK_USER, VM_NETWORK_BRIDGE, VM_NETWORK_LIBVIRT };

struct vm_label {
    char *key, *value;
};

struct vm_disk {
    int64_t size_gib;
};

struct vm_network {
    int mode;     /* enum vm_network_mode */
    char *source; /* bridge or libvirt network; NULL for user */
    char *mac;    /* drawn at create when not given */
    char *address; /* what the seed tells the guest, "10.0.0.2/24"; NULL: to ask by DHCP */
    char *gateway; /* with an address only; or NULL */
    char *nameservers[VM_NAMESERVERS_MAX]; /* likewise */
    size_t nameserver_count;
};

struct vm_spec {
    _Atomic unsigned refs;
    char *name, *description;
    struct vm_label *labels;
    size_t label_count;
    int64_t cpus, memory_mib;
    char *machine;
    int firmware;     /* enum vm_firmware */
    int acceleration; /* enum vm_acceleration */
    char *image;      /* name or id; NULL: no image */
    char *cmdline;    /* replaces the kernel image's; NULL: the image's */
    int64_t root_disk_gib; /* 0: the image's size */
    struct vm_disk disks[VM_DISKS_MAX];
    size_t disk_count;
    struct vm_network networks[VM_NETWORKS_MAX];
    size_t network_count;
    char *channels[VM_CHANNELS_MAX];
    size_t channel_count;
    char *user_data; /* for cloud-init, opaque; NULL: none */
    char *ssh_keys[VM_SSH_KEYS_MAX];
    size_t ssh_key_count;
    bool cloud_init; /* a seed also without user data and keys */
    int64_t serial_ports; /* the console and serial/1 to serial/3 */
    char *ready_pattern;  /* what the console prints when the guest is ready; NULL: it says so itself */
    int on_host_shutdown; /* enum vm_host_shutdown */
    int64_t host_shutdown_seconds; /* after which its plug is pulled */
    bool guest_agent, vsock, display, memory_merge, autostart, record_console;
};

/* One line of an authorized_keys file without options: kind, base64, comment. */
bool vm_spec_ssh_key_ok(const char *text);
/* vm_spec_name_ok: ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ */
bool vm_spec_name_ok(const char *name);

/*
 * Strict: unknown members, wrong kinds and ranges are VALIDATION_FAILED with a pointer. `start` is
 * a member of the request only; *ret_start (may be NULL: then the member is refused). Defaults
 * are filled in; MAC addresses that are missing are drawn.
 */
int vm_spec_decode(const json_t *object, struct vm_spec **ret, bool *ret_start, struct error *err);
/* All members, secret ones too; a new reference. Decoding it again gives the same spec. */
json_t *vm_spec_encode(const struct vm_spec *spec);
/* The same as text, as it is stored. */
char *vm_spec_stored_text(const struct vm_spec *spec);
/* As a client sees it: of the user data only whether there is some. */
char *vm_spec_text(const struct vm_spec *spec);
/* Is there anything for cloud-init to find? */
bool vm_spec_has_seed(const struct vm_spec *spec);
int vm_spec_from_text(const char *text, struct vm_spec **ret, struct error *err);
/* Would a running guest have to be stopped for the change from a to b to take effect? */
bool vm_spec_needs_stop(const struct vm_spec *a, const struct vm_spec *b);
const char *vm_spec_label(const struct vm_spec *spec, const char *key); /* NULL: none */

struct vm_spec *vm_spec_ref(struct vm_spec *spec);
void vm_spec_unref(struct vm_spec *spec);
DEFINE_CLEANUP(vm_spec, struct vm_spec *, vm_spec_unref);
#define auto_vm_spec auto_scope(cleanup_vm_spec)

const char *vm_acceleration_name(int acceleration);
const char *vm_host_shutdown_name(int action);

#endif
