/* A core with nothing but a real database, settings, a state directory and the images. */
#ifndef DROVER_TESTS_IMAGE_FAKE_CORE_H
#define DROVER_TESTS_IMAGE_FAKE_CORE_H

#include "service/conf/settings.h"
#include "service/vm/image_internal.h"

struct core {
    char dir[64];
    struct settings *settings;
    struct db *db;
    struct image_registry *images;
    unsigned users; /* of every image */
};

extern const struct actor test_actor;

/* A new state directory below where (NULL: /tmp). Aborts on failure. */
struct core *core_begin(const char *where);
/* Closes and opens database and registry: what a restart of the daemon sees. */
void core_again(struct core *core);
void core_end(struct core *core); /* removes the directory */

/* Events of a type so far. */
int core_events(struct core *core, const char *type);
/* Files in STATE_DIR/images (not its tmp), and in its tmp. */
int core_contents(struct core *core);
int core_leftovers(struct core *core);

#endif
