/* The core's accessors, as far as images need them. */
#include "tests/unit/image/fake_core.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "service/base/str.h"
#include "service/vm/catalogue.h"
#include "service/vm/op.h"
#include "service/vm/spec.h"

const struct actor test_actor = {
    .id = "token:test", .project_id = PROJECT_DEFAULT, .request_id = "r-1"};

const struct settings *core_settings(struct core *core)
{
    return core->settings;
}

const char *core_state_dir(struct core *core)
{
    return core->dir;
}

struct db *core_db(struct core *core)
{
    return core->db;
}

struct image_registry *core_images(struct core *core)
{
    return core->images;
}

unsigned registry_image_users(struct core *core, const char *image_id)
{
    (void)image_id;
    return core->users;
}

bool vm_spec_name_ok(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= VM_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static void must(int rc, const struct error *err, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, err->detail, err->cause);
    abort();
}

static void open_all(struct core *core)
{
    auto_free char *path = xasprintf("%s/drover.db", core->dir);
    struct error err = ERROR_INIT;

    must(db_open(path, &core->db, &err), &err, "db_open");
    must(image_registry_open(core, &core->images, &err), &err, "image_registry_open");
}

static void close_all(struct core *core)
{
    image_registry_close(core->images);
    db_close(core->db);
}

struct core *core_begin(const char *where)
{
    struct core *core = xcalloc(1, sizeof(*core));
    struct error err = ERROR_INIT;

    snprintf(core->dir, sizeof(core->dir), "%s/drover-image-XXXXXX", where ? where : "/tmp");
    if (!mkdtemp(core->dir))
        abort();
    core->settings = settings_new();
    must(settings_set(core->settings, "free_space_floor_mib", "0", &err), &err, "settings_set");
    open_all(core);
    return core;
}

void core_again(struct core *core)
{
    close_all(core);
    open_all(core);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void core_end(struct core *core)
{
    close_all(core);
    nftw(core->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    settings_free(core->settings);
    free(core);
}

struct counting {
    const char *type;
    int count;
};

static int count_event(void *arg, const struct event_row *row)
{
    struct counting *c = arg;

    c->count += strcmp(row->type, c->type) == 0;
    return 0;
}

int core_events(struct core *core, const char *type)
{
    struct counting c = {.type = type};
    struct error err = ERROR_INIT;

    must(store_event_list(core->db, PROJECT_DEFAULT, 0, 1000, count_event, &c, &err), &err,
         "store_event_list");
    return c.count;
}

static int count_files(const char *path)
{
    auto_closedir DIR *dir = opendir(path);
    struct dirent *entry;
    int count = 0;

    while (dir && (entry = readdir(dir)))
        count += entry->d_type == DT_REG;
    return count;
}

int core_contents(struct core *core)
{
    return count_files(core->images->dir);
}

int core_leftovers(struct core *core)
{
    return count_files(core->images->tmp_dir);
}

/* Nothing here has a source, so there are no operations. */
struct op *image_op_new(struct core *core, const struct actor *actor, const struct image *i)
{
    (void)core, (void)actor, (void)i;
    abort();
}

int image_op_insert(struct db_tx *tx, const struct op *op, struct error *err)
{
    (void)tx, (void)op, (void)err;
    abort();
}

void image_op_enqueue(struct core *core, struct op *op)
{
    (void)core, (void)op;
    abort();
}

struct op *image_op_pending(struct core *core, const char *image_id)
{
    (void)core, (void)image_id;
    return NULL;
}

void op_unref(struct op *op)
{
    if (op)
        abort();
}

/* No VMs either, and nothing is said of an image. */
size_t registry_image_vms(struct core *core, const char *image_id, struct vm ***ret)
{
    (void)core, (void)image_id;
    *ret = NULL;
    return 0;
}

void vm_unref(struct vm *vm)
{
    if (vm)
        abort();
}

const char *catalogue_vm_foreign(const json_t *vm)
{
    (void)vm;
    return NULL;
}

int vm_spec_decode(const json_t *object, struct vm_spec **ret, bool *ret_start, struct error *err)
{
    (void)object, (void)ret, (void)ret_start, (void)err;
    abort();
}

void vm_spec_unref(struct vm_spec *spec)
{
    if (spec)
        abort();
}
