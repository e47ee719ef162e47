/* The kinds of definitions: where each is on the server, and what it consists of. */
#include <string.h>

#include "service/base/str.h"
#include "service/cli/manifest.h"

static const struct spec_member project_members[] = {
    {"quota", 0, NULL},
    {"memory_merge", 0, NULL},
    {"merge_with", SPEC_SPARSE | SPEC_LATER, NULL},
    {0}};

static const struct spec_member image_members[] = {
    {"description", SPEC_SPARSE, NULL},
    {"kind", SPEC_FIXED, NULL},
    {"format", SPEC_FIXED, NULL},
    {"cmdline", SPEC_FIXED | SPEC_SPARSE, NULL},
    {"source", SPEC_FIXED, NULL},
    {"title", SPEC_SPARSE | SPEC_LATER, NULL},
    {"notes", SPEC_SPARSE | SPEC_LATER, NULL},
    {"architecture", SPEC_SPARSE | SPEC_LATER, NULL},
    {"expected_console", SPEC_LATER, NULL},
    {"vm", SPEC_SPARSE | SPEC_LATER, NULL},
    {0}};

static const struct spec_member label_members[] = {
    {"image", SPEC_IMAGE, "image_name"},
    {"keep", 0, NULL},
    {0}};

static const struct spec_member pool_members[] = {
    {"vm", 0, NULL},
    {"vm.user_data", SPEC_SECRET, NULL},
    {"depth", 0, NULL},
    {"ready_when", 0, NULL},
    {"ready", 0, NULL},
    {"max", 0, NULL},
    {"per_holder", 0, NULL},
    {"boot_seconds", 0, NULL},
    {"recycle_seconds", 0, NULL},
    {"ttl_seconds", 0, NULL},
    {"max_seconds", 0, NULL},
    {0}};

static const struct spec_member set_members[] = {
    {"count", SPEC_FIXED, NULL},
    {"name_pattern", SPEC_FIXED, NULL},
    {"machines", SPEC_FIXED, NULL},
    {"labels", SPEC_FIXED | SPEC_SPARSE, NULL},
    {"start", SPEC_FIXED, NULL},
    {"ready_when", SPEC_FIXED, NULL},
    {"boot_seconds", SPEC_FIXED, NULL},
    {"wave", SPEC_FIXED, NULL},
    {"addresses", SPEC_FIXED, NULL},
    {"ttl_seconds", SPEC_FIXED, NULL},
    {"on_expiry", SPEC_FIXED, NULL},
    {0}};

static const struct spec_member vm_members[] = {
    {"description", SPEC_SPARSE, NULL},
    {"labels", SPEC_SPARSE, NULL},
    {"cpus", 0, NULL},
    {"memory_mib", 0, NULL},
    {"machine", 0, NULL},
    {"firmware", 0, NULL},
    {"acceleration", 0, NULL},
    {"image", SPEC_IMAGE, NULL},
    {"cmdline", 0, NULL},
    {"root_disk_gib", 0, NULL},
    {"disks", SPEC_SPARSE, NULL},
    {"networks", 0, NULL},
    {"channels", SPEC_SPARSE, NULL},
    {"serial_ports", 0, NULL},
    {"ready_pattern", 0, NULL},
    {"guest_agent", 0, NULL},
    {"vsock", 0, NULL},
    {"display", 0, NULL},
    {"memory_merge", 0, NULL},
    {"autostart", 0, NULL},
    {"on_host_shutdown", 0, NULL},
    {"host_shutdown_seconds", 0, NULL},
    {"record_console", 0, NULL},
    {"cloud_init", 0, NULL},
    {"ssh_keys", SPEC_SPARSE, NULL},
    {"user_data", SPEC_SECRET, NULL},
    {"start", SPEC_ONCE, NULL},
    {0}};

static const struct spec_member webhook_members[] = {
    {"url", 0, NULL},
    {"events", 0, NULL},
    {"labels", SPEC_SPARSE, NULL},
    {"enabled", 0, NULL},
    {"secret", SPEC_ONCE, NULL}, /* the server never shows it: change_secret sends it */
    {0}};

/* In the order in which they need one another, which is the order of an export, too. */
const struct kind kinds[] = {
    {.name = "project",
     .path = "/v1/projects",
     .schema = "ProjectCreate",
     .list = "",
     .members = project_members},
    {.name = "image",
     .path = "/v1/images",
     .schema = "ImageCreate",
     .changes = "ImagePatch",
     .has_etag = true,
     .waits = true,
     .remedy = "An image's bytes do not change: give the new ones another name, and move a label to them; or "
               "delete this one first (drover image delete).",
     .list = "?limit=200",
     .members = image_members},
    {.name = "label",
     .path = "/v1/image-labels",
     .schema = "putImageLabel",
     .put = true,
     .list = "",
     .members = label_members},
    {.name = "pool",
     .path = "/v1/pools",
     .schema = "PoolPut",
     .put = true,
     .has_etag = true,
     .list = "?limit=200",
     .members = pool_members},
    {.name = "set",
     .path = "/v1/sets",
     .schema = "SetDefinition",
     .waits = true,
     .remedy = "A set stays as it was planned: other images come with drover set reimage, more time with drover set "
               "extend; else make a second set, or delete this one first (drover set delete).",
     .list = "?limit=200",
     .members = set_members},
    {.name = "vm",
     .path = "/v1/vms",
     .schema = "VmCreate",
     .has_etag = true,
     .list = "?limit=1000",
     .members = vm_members},
    {.name = "webhook",
     .path = "/v1/webhooks",
     .schema = "WebhookCreate",
     .by_label = true,
     .list = "?limit=200",
     .members = webhook_members},
    {0}};

const struct kind *kind_find(const char *name)
{
    for (const struct kind *k = kinds; name && k->name; k++) {
        size_t len = strlen(k->name);

        if (str_starts(name, k->name) && (!name[len] || str_eq(name + len, "s")))
            return k;
    }
    return NULL;
}

json_t *kinds_value(void)
{
    json_t *all = json_array();

    for (const struct kind *k = kinds; k->name; k++) {
        json_t *members = json_array();

        for (const struct spec_member *m = k->members; m->name; m++)
            json_array_append_new(members, json_string(m->name));
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s*, s:o}", "kind", k->name, "path", k->path,
                                             "schema", k->schema, "changes", k->changes, "members", members));
    }
    return all;
}
