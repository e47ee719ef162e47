/*
 * The libvirt wall: everything Drover asks of libvirt, in plain values. No other folder includes
 * libvirt's headers.
 *
 * One event-loop thread ("virt") runs libvirt's default event implementation, the console pumps
 * and the reconnect timer. Calls below that talk to libvirt block and may be made from any thread
 * but that one, and never while holding a lock. libvirtd serves five calls per connection at a
 * time, so control and statistics use connections of their own.
 *
 * Errors: HYPERVISOR_UNAVAILABLE (not connected, or the connection broke during the call),
 * VM_NOT_FOUND (no such domain), VM_STATE_CONFLICT (libvirt: operation invalid),
 * NOT_SUPPORTED_BY_HOST, TIMEOUT, else HYPERVISOR_FAILED; libvirt's words are in cause.
 */
#ifndef DROVER_VIRT_VIRT_H
#define DROVER_VIRT_VIRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/base/cleanup.h"
#include "service/base/error.h"
#include "service/base/secret.h"

struct virt;

/* As libvirt's virDomainState, reduced to what Drover distinguishes. */
enum virt_state {
    VIRT_STATE_UNKNOWN,
    VIRT_STATE_SHUTOFF,
    VIRT_STATE_RUNNING,
    VIRT_STATE_PAUSED,
    VIRT_STATE_STOPPING, /* shutdown in progress */
    VIRT_STATE_CRASHED,
    VIRT_STATE_SAVED, /* shut off with a managed save image */
    VIRT_STATE_GONE,  /* events only: undefined */
};

/* Why a domain came into its state; the word is libvirt's own detail, e.g. "destroyed". */
struct virt_event {
    char uuid[UUID_TEXT];
    enum virt_state state;
    char reason[64];      /* "booted", "shutdown", "destroyed", "crashed", "saved", "failed", … */
    bool guest_rebooted;  /* a reboot event: the state did not change */
};

enum virt_link { VIRT_LINK_DOWN, VIRT_LINK_UP };

struct virt_options {
    const char *uri;        /* "" = qemu:///embed?root=STATE_DIR/libvirt */
    const char *state_dir;  /* for the embedded driver's root and qemu.conf */
    const char *install_id; /* written into, and required of, our domains' metadata */
    /*
     * Called on the virt thread; copy and return, never block, never call back into virt.
     * on_link(UP) is called after events are registered, so that a listing made after it misses
     * nothing.
     */
    void (*on_event)(void *opaque, const struct virt_event *event);
    void (*on_link)(void *opaque, enum virt_link link, const char *reason);
    void *opaque;
};

/*
 * Starts the virt thread, which connects and reconnects by itself (0.1 s to 5 s between tries).
 * Does not wait for the connection and does not fail because libvirt is away. One per process.
 */
int virt_open(const struct virt_options *options, struct virt **ret, struct error *err);
/* Deregisters, closes, keeps looping until every pump is gone, joins. Guests keep running. */
void virt_close(struct virt *v);
/* false also while a connected libvirt has not answered for some seconds; the reason says so. */
bool virt_is_up(struct virt *v, char *ret_reason, size_t size);

/* ---- what the host's hypervisor can do ---- */

struct virt_host {
    char libvirt_version[32]; /* of the library and driver, "9.0.0" */
    char qemu_version[32];    /* "" when the driver is not QEMU */
    char driver[32];          /* "QEMU", "TEST" */
    char uri[256];
    char hostname[256];
    char arch[32];
    bool kvm;               /* libvirt offers domain type kvm */
    bool vsock;             /* domain capabilities offer vsock */
    unsigned machine_count;
    char machines[64][64];  /* canonical and alias names, as libvirt gives them */
};

int virt_host_info(struct virt *v, struct virt_host *ret, struct error *err);

/* ---- definitions ---- */

enum virt_disk_format { VIRT_DISK_RAW, VIRT_DISK_QCOW2 };
enum virt_nic_mode { VIRT_NIC_USER, VIRT_NIC_BRIDGE, VIRT_NIC_NETWORK };

struct virt_backing {
    const char *path;
    enum virt_disk_format format;
};

struct virt_disk {
    const char *path; /* absolute */
    enum virt_disk_format format;
    bool cdrom;     /* read-only SATA CD-ROM; else virtio */
    bool read_only;
    const char *serial; /* or NULL */
    /* The whole chain below path, in order; libvirt never probes: the XML ends it explicitly. */
    const struct virt_backing *backing;
    size_t backing_count;
};

struct virt_nic {
    enum virt_nic_mode mode;
    const char *source; /* bridge or libvirt network name; NULL for user */
    const char *mac;
};

struct virt_domain {
    const char *uuid;
    const char *name;
    const char *description; /* or NULL */
    uint64_t generation;     /* of the definition, kept in the metadata */
    unsigned cpus;
    uint64_t memory_mib;
    bool kvm;            /* else TCG */
    const char *machine; /* "q35", "pc", … */
    bool uefi;           /* firmware='efi' */
    const char *kernel, *initrd, *cmdline; /* direct boot; NULL without */
    const struct virt_disk *disks;
    size_t disk_count;
    const struct virt_nic *nics;
    size_t nic_count;
    const char *const *channels; /* virtio-serial port names */
    size_t channel_count;
    unsigned extra_serials; /* serial ports beside the console, "serial1" to "serial3" */
    /*
     * Where QEMU listens for the serial console, for the further serial ports, for each channel,
     * instead of where libvirt chooses (a terminal, a socket of its own): absolute, at most
     * VIRT_SOCKET_MAX bytes, in a directory that only the caller can enter. NULL, also single ones:
     * libvirt chooses. virt_define heeds them with the embedded driver only, whose QEMU is this
     * host's and this user's.
     */
    const char *console_socket;
    const char *const *serial_sockets; /* extra_serials of them */
    const char *const *channel_sockets;
    bool guest_agent; /* org.qemu.guest_agent.0 */
    /*
     * Where somebody listens for the agent's channel: QEMU connects, and does so again when it is
     * cut off. NULL: libvirt has the agent. Embedded driver only, as above.
     */
    const char *agent_socket;
    uint32_t vsock_cid; /* 0: none */
    const char *vnc_socket; /* as above, or "": libvirt chooses; NULL: no display */
    bool memory_merge;      /* false: <nosharepages/> */
    const char *const *smbios_oem; /* SMBIOS type 11 strings */
    size_t smbios_oem_count;
    /* What virt_survey() is to hand back one day: printable ASCII, at most VIRT_NOTE_MAX; or NULL. */
    const char *note;
};

#define VIRT_NOTE_MAX    (256u << 10)
#define VIRT_SOCKET_MAX  107
#define VIRT_SERIALS_MAX 3 /* a PC has four ports, and the first is the console */

/* The domain XML as text (caller frees); pure, no connection. Tested against libvirt's schema. */
int virt_domain_xml(const struct virt_domain *domain, const char *install_id, char **ret,
                    struct error *err);

/*
 * Defines or redefines; the same uuid and name may be defined any number of times. While another
 * domain of ours runs under that name (its VM is being deleted, say) this one is called NAME.ID8,
 * ID8 being the first digits of its uuid. NAME_IN_USE: a domain that is not ours has the name.
 */
int virt_define(struct virt *v, const struct virt_domain *domain, struct error *err);
/* Is that what the domain of the VM that is called `name` may be called? */
bool virt_name_fits(const char *domain, const char *name, const char *uuid);
/* Undefines with managed save, nvram and snapshot metadata. A missing domain is success. */
int virt_undefine(struct virt *v, const char *uuid, struct error *err);

/* ---- lifecycle; all refuse (VM_NOT_FOUND) a domain that is not ours ---- */

enum virt_start { VIRT_START_RUN, VIRT_START_PAUSED };

/* Restores a managed save image when there is one. */
int virt_start(struct virt *v, const char *uuid, enum virt_start how, struct error *err);
int virt_shutdown(struct virt *v, const char *uuid, struct error *err); /* asks the guest */
int virt_destroy(struct virt *v, const char *uuid, struct error *err);  /* pulls the plug */
/*
 * The same for a domain whose disks nobody will look at again: with the embedded driver QEMU is not
 * asked to put its house in order first, which saves the 200 ms that libvirt sleeps after asking.
 */
int virt_discard(struct virt *v, const char *uuid, struct error *err);
int virt_reboot(struct virt *v, const char *uuid, struct error *err);   /* asks the guest */
int virt_reset(struct virt *v, const char *uuid, struct error *err);
int virt_suspend(struct virt *v, const char *uuid, struct error *err);
int virt_resume(struct virt *v, const char *uuid, struct error *err);
int virt_save(struct virt *v, const char *uuid, struct error *err); /* managed save */
int virt_drop_save(struct virt *v, const char *uuid, struct error *err);

/*
 * Starts the defined domain, paused, with the memory of another one's managed save image, which
 * stays as it is: any number of domains may begin so. The devices must be those of the other. fifo:
 * a free name in a directory of the caller's alone; libvirt reads the image through it, behind a
 * header that says whom it is for. Where virt_can_clone() says no: NOT_SUPPORTED_BY_HOST.
 */
int virt_clone(struct virt *v, const struct virt_domain *domain, const char *source_uuid,
               const char *fifo, struct error *err);
bool virt_can_clone(const struct virt *v); /* the saved images are files that we may read */
/* The size of the domain's managed save image; 0: there is none, or virt_can_clone() says no. */
uint64_t virt_saved_bytes(const struct virt *v, const char *name);

struct virt_info {
    char uuid[UUID_TEXT];
    char name[256];
    enum virt_state state;
    char reason[64];
    uint64_t generation; /* from our metadata */
    bool ours;
    bool owner_read; /* false: nobody wanted to know; ours and generation say nothing */
    bool autostart;
    int64_t pid; /* of QEMU on this host, 0 when unknown or not running */
};

int virt_info(struct virt *v, const char *uuid, struct virt_info *ret, struct error *err);
/* The same for who cannot wait: UNAVAILABLE when libvirt has not answered by then, or an earlier such question yet. */
int virt_info_soon(struct virt *v, const char *uuid, int ms, struct virt_info *ret, struct error *err);
/*
 * Every domain, ours and foreign, in order of uuid; caller frees the array. wants_owner is asked about each with all
 * but ours and generation filled in, and says whether to read those: it costs a call to libvirt a
 * domain. NULL: all are read.
 */
int virt_list(struct virt *v, bool (*wants_owner)(void *opaque, const struct virt_info *info),
              void *opaque, struct virt_info **ret, size_t *ret_count, struct error *err);

/* ---- what a lost database is made again from ---- */

#define VIRT_FOUND_DISKS    20
#define VIRT_FOUND_NICS     16
#define VIRT_FOUND_CHANNELS 16

struct virt_found_disk {
    char *path;
    char *backing, *base; /* the file right below it, and the last of the chain; NULL: it stands alone */
    enum virt_disk_format base_format;
    bool cdrom, read_only;
};
struct virt_found_nic {
    enum virt_nic_mode mode;
    char source[128], mac[18]; /* source "" for user */
};

/* A domain that carries some installation's mark, and what its persistent definition says. */
struct virt_found {
    char uuid[UUID_TEXT], name[256], install[128];
    uint64_t generation;
    enum virt_state state;
    char *note; /* as it was defined with; NULL: it was not */
    char *description, *kernel, *initrd, *cmdline; /* NULL: not there */
    char machine[64];
    uint64_t cpus, memory_mib;
    bool kvm, uefi, guest_agent, display, memory_merge;
    unsigned serial_ports;
    uint32_t vsock_cid;
    struct virt_found_disk disks[VIRT_FOUND_DISKS];
    struct virt_found_nic nics[VIRT_FOUND_NICS];
    char channels[VIRT_FOUND_CHANNELS][65];
    size_t disk_count, nic_count, channel_count;
};

/* Every such domain, of whatever installation, in order of uuid; free with virt_found_free(). */
int virt_survey(struct virt *v, struct virt_found **ret, size_t *ret_count, struct error *err);
void virt_found_free(struct virt_found *found, size_t count);

/* ---- byte streams ---- */

/*
 * Opens a stream of the running domain as one end of a socket pair; the virt thread pumps the
 * other end. device is NULL for the first serial console, or a libvirt device alias.
 * End of file on the descriptor means the domain stopped or the console was taken. Caller closes.
 */
int virt_console_open(struct virt *v, const char *uuid, const char *device, int *ret_fd,
                      struct error *err);
/* A virtio-serial port by its target name, the same way. */
int virt_channel_open(struct virt *v, const char *uuid, const char *port, int *ret_fd,
                      struct error *err);
/* A connected socket that speaks RFB; libvirt hands it out, no pump in between. */
int virt_graphics_open(struct virt *v, const char *uuid, int *ret_fd, struct error *err);
/*
 * What the first screen shows, as QEMU writes it (a PPM or a PNG): caller frees. More than
 * max bytes are HYPERVISOR_FAILED.
 */
int virt_screenshot(struct virt *v, const char *uuid, size_t max, char **ret, size_t *ret_len,
                    struct error *err);
/*
 * The CID the running guest's vsock device has, from libvirt's own account of it; 0: it has none.
 * This, and not what we once meant to give it, is what may be dialled.
 */
int virt_vsock_cid(struct virt *v, const char *uuid, uint32_t *ret, struct error *err);

/* ---- a copy of a running domain's disk, as it is at the moment of virt_backup_begin ---- */

struct virt_backup {
    bool running, whole; /* neither: it failed, or there is none */
    uint64_t done_bytes, total_bytes;
    char reason[256]; /* why it failed, in libvirt's words; for the log */
};
/*
 * target: "vda". path: of a new file, absolute. QEMU goes on by itself, one copy at a time for each
 * domain. NOT_SUPPORTED_BY_HOST with any but the embedded driver.
 */
int virt_backup_begin(struct virt *v, const char *uuid, const char *target, const char *path,
                      enum virt_disk_format format, struct error *err);
int virt_backup_look(struct virt *v, const char *uuid, struct virt_backup *ret, struct error *err);
int virt_backup_end(struct virt *v, const char *uuid, struct error *err); /* before it is whole */

/* ---- what the guest says, where libvirt has its agent ---- */

bool virt_is_embedded(const struct virt *v);
/*
 * One command of the guest agent's, on a connection of its own; the reply is the caller's, and
 * the guest's to lie in. AGENT_UNAVAILABLE, AGENT_FAILED, TIMEOUT. Blocks until then.
 */
int virt_agent_command(struct virt *v, const char *uuid, const char *command, int timeout_seconds,
                       char **ret, struct error *err);

struct virt_address {
    char mac[18], address[46];
    bool ipv6;
    unsigned prefix;
};
/* What libvirt's networks leased to the VM. */
int virt_leases(struct virt *v, const char *uuid, struct virt_address *ret, size_t max,
                size_t *ret_count, struct error *err);

/* ---- statistics, on a connection of their own ---- */

#define VIRT_STATS_DEVICES 16
#define VIRT_STATS_VCPUS   64 /* shown one by one; the sums have all */

struct virt_vcpu_stats {
    bool has_time, has_wait, has_delay;
    uint64_t time_ns, wait_ns, delay_ns;
};

struct virt_block_stats {
    char name[32]; /* target, "vda" */
    bool has_requests, has_times, has_sizes;
    uint64_t read_bytes, read_requests, write_bytes, write_requests, flush_requests;
    uint64_t read_time_ns, write_time_ns, flush_time_ns;
    uint64_t capacity_bytes, allocation_bytes, physical_bytes;
};

struct virt_net_stats {
    char name[32]; /* tap device; "" in user mode, where there are no counters */
    bool has_counters;
    uint64_t receive_bytes, receive_packets, receive_errors, receive_drops;
    uint64_t transmit_bytes, transmit_packets, transmit_errors, transmit_drops;
};

/* One domain's sample. A has_ flag is false where libvirt gave nothing: absent is not zero. */
struct virt_stats {
    char uuid[UUID_TEXT];
    enum virt_state state;
    bool has_cpu, has_cpu_split, has_vcpu_wait, has_balloon, has_rss, has_faults, has_guest_memory;
    uint64_t cpu_ns, cpu_user_ns, cpu_system_ns, vcpu_wait_ns, vcpu_delay_ns;
    uint32_t vcpus;
    uint64_t balloon_bytes, maximum_bytes, rss_bytes;
    uint64_t available_bytes, unused_bytes, usable_bytes, disk_caches_bytes;
    uint64_t major_faults, minor_faults, swap_in_bytes, swap_out_bytes;
    size_t block_count, net_count, vcpu_count;
    struct virt_vcpu_stats vcpu[VIRT_STATS_VCPUS];
    struct virt_block_stats blocks[VIRT_STATS_DEVICES];
    struct virt_net_stats nets[VIRT_STATS_DEVICES];
};

/*
 * One running domain of ours; VM_NOT_FOUND when it does not run. Never waits for a job somebody else
 * runs on it, but for a QEMU that has stopped answering it waits as long as libvirt does: so only
 * the sampler's own workers call it.
 */
int virt_stats_read(struct virt *v, const char *uuid, struct virt_stats *ret, struct error *err);

/* How fast a guest writes to its memory; QEMU measures for so many seconds (1 to 60). */
struct virt_dirty_rate {
    bool measuring, has_rate;
    int seconds;
    uint64_t bytes_per_second; /* QEMU tells whole MiB */
};
/* NOT_SUPPORTED_BY_HOST, VM_NOT_FOUND. Both block on libvirt. */
int virt_dirty_rate_start(struct virt *v, const char *uuid, int seconds, struct error *err);
int virt_dirty_rate_read(struct virt *v, const char *uuid, struct virt_dirty_rate *ret,
                         struct error *err);

#endif
