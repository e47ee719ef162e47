/*
 * How much of each resource may be used at the same time: a project's limits, or a token's. Pure
 * values; any thread.
 */
#ifndef DROVER_VM_QUOTA_LIMITS_H
#define DROVER_VM_QUOTA_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

enum quota_resource {
    QUOTA_VMS,
    QUOTA_CPUS,
    QUOTA_MEMORY_MIB,
    QUOTA_DISK_BYTES, /* of root and data disks, as the guests see them */
    QUOTA_LEASES,
    QUOTA_CONSOLES, /* sockets that are open to streams of VMs */
    QUOTA_COUNT
};
const char *quota_resource_name(int resource);

#define QUOTA_UNLIMITED (-1)
#define QUOTA_MAX       ((int64_t)1 << 52) /* JSON carries it exactly */

struct quota_limits {
    int64_t max[QUOTA_COUNT]; /* or QUOTA_UNLIMITED */
};
struct quota_use {
    int64_t used[QUOTA_COUNT];
};

/* 'vms=10 cpus=20' as it is stored; what is not named, or not understood, has no limit. */
struct quota_limits quota_limits_parse(const char *text);
#define QUOTA_TEXT_SIZE 256
void quota_limits_text(const struct quota_limits *limits, char ret[QUOTA_TEXT_SIZE]);
bool quota_limits_any(const struct quota_limits *limits);
/* The first resource of which `limits` gives more than `of` has; QUOTA_COUNT: none. */
int quota_limits_beyond(const struct quota_limits *limits, const struct quota_limits *of);

#endif
