/*
 * What the Linux host says about itself, read from /sys, /proc and /dev below a root directory that
 * tests replace. Every figure is optional: a file that is missing or unreadable leaves has_ false.
 *
 * Any thread; no state but where ksmd was found last, never blocks on anything but the kernel.
 */
#ifndef DROVER_HOST_HOST_H
#define DROVER_HOST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "service/base/error.h"

struct host; /* the root, opened once */

int host_open(const char *root, struct host **ret, struct error *err); /* "/" in production */
void host_close(struct host *h);

/* ---- KSM; names are the kernel's (Documentation/admin-guide/mm/ksm.rst) ---- */

enum host_ksm_key {
#define K(name, kind, help) HOST_KSM_##name,
#include "service/host/ksm.def"
#undef K
    HOST_KSM_COUNT
};

struct host_ksm {
    bool available; /* /sys/kernel/mm/ksm exists */
    bool has[HOST_KSM_COUNT];
    int64_t value[HOST_KSM_COUNT];
    bool has_advisor_mode;
    char advisor_mode[64]; /* the bracketed word */
    uint64_t page_size_bytes;
    bool has_ksmd_cpu;
    double ksmd_cpu_seconds; /* user + system of the ksmd thread */
    bool has_saved;
    /* Places that cost no page of their own: those that share one, and empty pages, which the kernel
     * counts apart (Linux 6.6; not part of pages_sharing, nor of any process's resident memory). */
    uint64_t saved_bytes;
    uint64_t zero_bytes; /* of it, empty pages; 0 where the kernel does not tell */
};

const char *host_ksm_name(enum host_ksm_key key); /* "pages_sharing" */
void host_ksm_read(struct host *h, struct host_ksm *ret);
/*
 * Writes run, pages_to_scan, sleep_millisecs, …; needs root. INVALID_ARGUMENT for a counter or a
 * value the kernel refuses, NOT_SUPPORTED_BY_HOST when this kernel has no such knob, FORBIDDEN
 * without the right, VM_STATE_CONFLICT while pages are merged (merge_across_nodes,
 * max_page_sharing).
 */
int host_ksm_write(struct host *h, enum host_ksm_key key, int64_t value, struct error *err);
bool host_ksm_is_knob(enum host_ksm_key key);
/* "none" or "scan-time" (Linux 6.8). While it is on, the kernel refuses pages_to_scan. */
int host_ksm_write_advisor(struct host *h, const char *mode, struct error *err);

/*
 * What KSM's knobs were before somebody of ours changed them, in a file below run/ that one process
 * of the host holds at a time. It outlives a crash, not a reboot: exactly as long as the knobs do.
 */
struct host_ksm_claim;
/* 1 held, 0 another process holds it, -1. *ret_text (caller frees) is what a holder that crashed left, or "". */
int host_ksm_claim_take(struct host *h, struct host_ksm_claim **ret, char **ret_text,
                        struct error *err);
int host_ksm_claim_write(struct host_ksm_claim *c, const char *text, struct error *err);
void host_ksm_claim_drop(struct host_ksm_claim *c); /* NULL is fine; what was written stays */

/* ---- one process (a VM's QEMU) ---- */

/* What is cheap to read: two or three small files, some 20 microseconds. */
struct host_process {
    uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells a reused pid */
    bool has_cpu, has_memory, has_faults, has_io, has_ksm;
    double cpu_user_seconds, cpu_system_seconds;
    uint64_t resident_bytes, virtual_bytes;
    uint64_t minor_faults, major_faults;
    uint64_t read_bytes, write_bytes; /* that the process had storage fetch and take */
    /* /proc/PID/ksm_stat; individual lines may be missing on older kernels */
    bool has_ksm_merging_pages, has_ksm_rmap_items, has_ksm_zero_pages, has_ksm_profit,
        has_ksm_mergeable;
    int64_t ksm_merging_pages, ksm_rmap_items, ksm_zero_pages, ksm_profit_bytes;
    bool ksm_mergeable;   /* the process marked memory MADV_MERGEABLE */
    char ksm_reason[128]; /* why has_ksm is false: "needs root", "kernel too old", … */
};

/* 1 read, 0 no such process. Never fails otherwise: what cannot be read is absent. */
int host_process_read(struct host *h, pid_t pid, struct host_process *ret);

/*
 * The same of a process that is read again and again, at a third of the cost. One thread at a time.
 * Never fails: where files cannot be kept open (no /proc, too few descriptors) they are opened each
 * time. Once the process has ended every reading is 0, whoever has its pid by then.
 */
struct host_watch;
struct host_watch *host_watch_open(struct host *h, pid_t pid);
void host_watch_close(struct host_watch *w); /* NULL is fine */
/* same_ksm: ksmd has done nothing since the last reading, so neither have its figures changed. */
int host_watch_read(struct host_watch *w, bool same_ksm, struct host_process *ret);

/* "some avg10" of /sys/fs/cgroup/…/{cpu,memory,io}.pressure: per cent of the last ten seconds. */
struct host_pressure {
    bool has_cpu, has_memory, has_io;
    double cpu_percent, memory_percent, io_percent;
};

/* What is dear: the kernel walks the process's page tables for it. */
struct host_process_memory {
    bool has_swap; /* /proc/PID/status */
    uint64_t swap_bytes;
    bool has_rollup; /* /proc/PID/smaps_rollup */
    uint64_t pss_bytes;      /* a page that n processes share counts 1/n */
    uint64_t private_bytes;  /* nobody else has these pages */
    uint64_t anonymous_bytes, huge_bytes; /* ordinary memory; of it in transparent huge pages */
    uint64_t shmem_bytes;    /* share of shared memory and memfd: KSM cannot merge it */
    uint64_t hugetlb_bytes;  /* KSM cannot merge it */
    bool has_merged;         /* since Linux 6.7 */
    uint64_t merged_bytes;
    /* The process's own control group (version 2), when it has one. */
    struct host_pressure pressure;
};

/* 1 read, 0 no such process. */
int host_process_memory_read(struct host *h, pid_t pid, struct host_process_memory *ret);

/* ---- memory, CPUs, disk, boot ---- */

struct host_memory {
    bool ok;
    uint64_t total_bytes, free_bytes, available_bytes, swap_total_bytes, swap_free_bytes;
    bool has_hugepages;
    uint64_t hugepages_total, hugepages_free, hugepage_size_bytes;
};

void host_memory_read(struct host *h, struct host_memory *ret);
unsigned host_cpu_count(struct host *h);
int host_boot_id(struct host *h, char ret[37], struct error *err);
/* Free and total bytes of the file system that holds path. */
int host_disk_space(const char *path, uint64_t *ret_free, uint64_t *ret_total, struct error *err);
/* "" where /proc/cpuinfo does not say. */
void host_processor(struct host *h, char *ret_model, size_t size);
void host_kernel(struct host *h, char *ret_release, size_t size);

/* ---- the daemon's own process, for /metrics ---- */

struct host_self {
    double cpu_seconds;
    uint64_t resident_bytes, virtual_bytes;
    unsigned open_fds, max_fds;
    double start_time_seconds; /* since the epoch */
};

void host_self_read(struct host *h, struct host_self *ret);

/* ---- preflight: what works, and if not, why and what to do ---- */

struct host_check {
    /* "kvm", "nested", "vsock", "ksm", "tun", "disk_space", "hugepages", "qemu_binary" */
    char id[32];
    char title[64]; /* "Hardware virtualisation (KVM)" */
    enum { HOST_CHECK_OK, HOST_CHECK_WARNING, HOST_CHECK_FAILED } result;
    char cause[256];  /* a stable word and a sentence: "firmware-disabled: …"; "" when ok */
    char detail[256]; /* what was found */
    char fix[256];    /* the command or setting that mends it; "" when ok */
};

/* KVM usable by this process: opens the device and asks its API version and for a VM. */
struct host_kvm {
    bool usable;
    /*
     * "" when all is well; "limited" when usable, but with a flaw that detail names; otherwise why
     * not: "module-missing", "firmware-disabled", "no-permission", "no-cpu-support", "no-device",
     * "busy", "nested-off", "too-old", "failed"
     */
    char cause[32];
    char detail[256];
    char fix[256];
    bool nested; /* this host is itself a guest */
    /*
     * The processor shows neither vmx nor svm and /dev/kvm works all the same: a paravirtual KVM.
     * Guests that stay in firmware run; kernels that were not built for it hang. True only with
     * usable.
     */
    bool limited;
};

void host_kvm_probe(struct host *h, struct host_kvm *ret);
/* ret_cause: "" or a stable word and a sentence, as in struct host_check. */
bool host_vsock_usable(struct host *h, char *ret_cause, size_t size);

/*
 * Everything this folder can check by itself; returns how many were written. The caller adds what
 * only libvirt knows ("libvirt", "qemu" with its version).
 */
size_t host_checks(struct host *h, const char *state_dir, struct host_check *ret, size_t max);

/* The kernel's IPv4 neighbour table: every complete entry. */
void host_neighbours(struct host *h, void (*fn)(void *arg, const char *address, const char *mac),
                     void *arg);

/* The same from the table's text, which it takes to pieces. */
void host_neighbours_parse(char *text, void (*fn)(void *arg, const char *address, const char *mac),
                           void *arg);

#endif
