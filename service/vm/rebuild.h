/*
 * A new database in the place of one that is lost or damaged beyond repair: the VMs' definitions come
 * back from libvirt, which knows each domain and the note that Drover left in it. Main thread, while
 * no daemon runs. Guests and domains are not touched.
 */
#ifndef DROVER_VM_REBUILD_H
#define DROVER_VM_REBUILD_H

#include <stdbool.h>
#include <stdio.h>

#include "service/base/error.h"
#include "service/conf/settings.h"

struct rebuild_options {
    const struct settings *settings; /* state_dir, libvirt_uri */
    const char *install_id;          /* whose domains; NULL: found out */
    bool force;                      /* also where the database or a copy of it is good */
    FILE *out;                       /* what was rebuilt, what not, and what is lost */
};

/*
 * What was there before stays beside the new one. DATABASE_FAILED when it is refused or fails, and
 * then nothing was changed; HYPERVISOR_UNAVAILABLE.
 */
int rebuild_database(const struct rebuild_options *options, struct error *err);

#endif
