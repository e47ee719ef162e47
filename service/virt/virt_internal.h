/*
 * Private to service/virt: the only file that includes libvirt's headers.
 *
 * Threads: "virt" runs libvirt's event loop and owns every pump; "virt-link" does what may block
 * on libvirt's behalf (connecting, closing, aborting streams); "virt-reap" collects QEMU processes
 * of the embedded driver. struct virt's lock is a leaf: nothing is called while holding it.
 */
#ifndef DROVER_VIRT_VIRT_INTERNAL_H
#define DROVER_VIRT_VIRT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "service/base/str.h"
#include "service/base/thread.h"
#include "service/virt/domxml.h"
#include "service/virt/virt.h"

#define VIRT_MAGIC 0x76697274u

struct pump;
struct errand;

/* Ping is the link thread's; a stream keeps its line for as long as it is open. */
enum virt_use {
    VIRT_USE_CONTROL,
    VIRT_USE_STATS,
    VIRT_USE_AGENT,
    VIRT_USE_SHORT, /* who asks cannot wait long, see virt_within() */
    VIRT_USE_STREAM,
    VIRT_USE_PING,
    VIRT_USE_COUNT
};

/* A connection that its holder alone uses. */
struct virt_line {
    uint32_t magic;
    struct virt *v;
    virConnectPtr conn;
    enum virt_use use;
    unsigned era;
    struct virt_line *next; /* while free, as is the next */
    int64_t free_since_ms;  /* monotonic */
};

struct virt {
    uint32_t magic;
    char *uri, *state_dir, *install_id;
    char *run_dir;   /* where NAME.pid files are; NULL when QEMU is not on this host */
    char *log_dir;  /* where the embedded driver writes NAME.log; else NULL */
    char *root_link; /* short name of the embedded driver's root; or NULL */
    char *save_dir;  /* where it writes NAME.save; else NULL */
    bool embedded, local;
    bool in_process; /* no libvirtd between: the embedded driver and the test driver */
    void (*on_event)(void *opaque, const struct virt_event *event);
    void (*on_link)(void *opaque, enum virt_link link, const char *reason);
    void *opaque;

    pthread_t loop_thread, link_thread, reap_thread;
    bool reaping, was_subreaper;
    int wake_fd, wake_watch;
    _Atomic bool loop_stop;

    pthread_mutex_t lock; /* leaf; guards all below */
    pthread_cond_t changed, line_freed;
    virConnectPtr conn; /* NULL while down; the listener's alone, unless in_process */
    unsigned era;       /* counts the losses of the link */
    struct virt_line *free_lines;
    unsigned in_use[VIRT_USE_COUNT];
    int lifecycle_id, reboot_id;
    bool stopping, broken, reap_stop, link_ended, loop_ended;
    bool down_pending, up_pending; /* on_link calls the virt thread owes; down comes first */
    char reason[256];              /* why the link is down; "" when up */
    struct errand *errands;        /* every question of virt_within() */
    struct pump *pumps;            /* every pump, from opening to burial */
    int64_t ping_since_ms;         /* the link thread's question whether libvirt answers; 0: none */
    struct virt_host *host;        /* as libvirt last told; NULL before it first did */
    int64_t host_at_ms;            /* when that was, monotonic */
    bool host_wanted;              /* the link thread shall ask */
    struct error host_err;         /* why it last failed */
    void *owners;                  /* tsearch tree of struct owner: what we know about uuids */
};

/* ---- scope destructors for libvirt's types ---- */

static inline void virt_domain_free(virDomainPtr domain)
{
    if (domain)
        virDomainFree(domain);
}

static inline void virt_stream_free(virStreamPtr stream)
{
    if (stream)
        virStreamFree(stream);
}

DEFINE_CLEANUP(domain, virDomainPtr, virt_domain_free);
DEFINE_CLEANUP(stream, virStreamPtr, virt_stream_free);
#define auto_domain  auto_scope(cleanup_domain)
#define auto_stream  auto_scope(cleanup_stream)

/* ---- virt.c ---- */

void virt_wake(struct virt *v); /* makes the virt thread look at its queues; any thread */

/* ---- virt_error.c ---- */

void virt_error_init(void);
/*
 * Maps libvirt's thread-local error into err; what says what was attempted ("start the VM").
 * conn (or NULL) tells a broken connection from a refusal. Returns -1.
 */
int virt_fail(virConnectPtr conn, struct error *err, const char *what);

/* ---- virt_link.c ---- */

void *virt_link_thread(void *arg);
void virt_link_notify(struct virt *v); /* virt thread: the on_link calls that are owed */
/* A connection whose end is noticed; any thread, and blocks. NULL with an error. */
virConnectPtr virt_link_open(struct virt *v, struct error *err);
void virt_link_close(virConnectPtr conn);                       /* NULL is fine */
int virt_link_fail(const struct virt *v, struct error *err); /* lock held: says that there is none */

/* ---- virt_line.c ---- */

/*
 * A line for one call or stream, or HYPERVISOR_UNAVAILABLE with the reason. Blocks as any call to
 * libvirt may: while a connection is made, and while all lines of that use are taken. Nobody asks
 * for a second one while holding one.
 */
int virt_acquire(struct virt *v, enum virt_use use, struct virt_line **ret, struct error *err);
void virt_release(struct virt_line *line);
void virt_lines_trim(struct virt *v);  /* link thread: closes what has been free for long */
void virt_lines_close(struct virt *v); /* link thread: closes all that are free */

static inline void virt_line_done(struct virt_line *line)
{
    if (line)
        virt_release(line);
}

DEFINE_CLEANUP(line, struct virt_line *, virt_line_done);
#define auto_line auto_scope(cleanup_line)

/* ---- virt_within.c ---- */

typedef int virt_errand_fn(struct virt *v, void *arg, struct error *err);
/*
 * Calls fn on another thread and waits for it, but not for longer. 0, or -1 with fn's error: the
 * argument is the caller's again. 1, with an error: it is too late, and arg_free gets the argument when
 * libvirt has answered. uuid, of the VM that is asked about, lives in the argument. Any thread.
 */
int virt_within(struct virt *v, int ms, const char *uuid, virt_errand_fn *fn, void *arg,
                void (*arg_free)(void *), struct error *err);

/* ---- virt_host.c ---- */

/* virt-link thread: asks libvirt for what virt_host_info() answers with. */
void virt_host_refresh(struct virt *v);

/* ---- virt_event.c ---- */

int virt_event_register(struct virt *v, virConnectPtr conn, struct error *err);
void virt_event_deregister(struct virt *v, virConnectPtr conn);
/* libvirt's (state, reason) in Drover's words; reason is libvirt's detail. */
enum virt_state virt_state_map(int state, int reason, const char **ret_reason);

/* ---- virt_owner.c ---- */

/* The domain's mark, from the persistent definition where there is one; 1 ours, 0 not, -1 gone. */
int virt_owner_read(struct virt *v, virDomainPtr domain, struct domxml_mark *ret);
/* The same from memory when known; costs a libvirt call only for a new uuid. */
bool virt_owner_is_us(struct virt *v, virDomainPtr domain);
void virt_owner_forget(struct virt *v, const unsigned char uuid[VIR_UUID_BUFLEN]);
void virt_owner_clear(struct virt *v);
/* Finds a domain of ours; VM_NOT_FOUND for any other. */
int virt_find_ours(struct virt *v, virConnectPtr conn, const char *uuid, virDomainPtr *ret,
                   struct error *err);

/* ---- virt_pump.c ---- */

/* Takes the stream and its line; returns the caller's end of the socket pair. key names the device. */
int virt_pump_open(struct virt *v, struct virt_line **line, const char *key, virStreamPtr *stream,
                   int *ret_fd, struct error *err);
/* Ends the pumps of that device and waits until libvirt has let go; false after the deadline. */
bool virt_pump_displace(struct virt *v, const char *key, int64_t deadline_monotonic_ms);
/* libvirt tells a connection's end to everybody but its streams. NULL: all; any thread, any time. */
void virt_pump_end_all(struct virt *v, virConnectPtr conn);
void virt_pump_turn(struct virt *v);    /* virt thread: starts what is new, ends what is unwanted */
void virt_pump_bury(struct virt *v);    /* virt-link thread: aborts finished streams, frees pumps */
bool virt_pump_is_buried(const struct virt *v); /* nothing waits for burial; lock held */

/* ---- virt_root.c ---- */

/*
 * libvirt puts "/lib/qemu/channel/target/domain-ID-<20 bytes of name>/<port>" below the root, and
 * a Unix socket's address has 107 bytes: a longer root gets a short name under /run.
 */
#define VIRT_ROOT_MAX 26

/* Makes the short name and puts it into root_link. It stays when the daemon ends. */
int virt_root_shorten(struct virt *v, const char *root, struct error *err);

/* ---- virt_embed.c ---- */

/* Fills uri, root_link, run_dir and log_dir and writes qemu.conf. */
int virt_embed_prepare(struct virt *v, struct error *err);
/* Removes QEMU's log of a domain that is being undefined; the embedded driver never would. */
void virt_embed_forget_log(const struct virt *v, const char *name);
/* Ends QEMU and collects it, so that libvirt finds it gone; does nothing where it is not our child. */
void virt_embed_kill(const struct virt *v, const char *name, const char *uuid);
int virt_reap_start(struct virt *v, struct error *err);
void virt_reap_stop(struct virt *v);
int64_t virt_pid(const struct virt *v, const char *name, const char *uuid);

#endif
