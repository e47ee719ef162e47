/* The NoCloud seed. */
#include "service/vm/seed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "service/base/fault.h"
#include "service/base/fd.h"
#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/guest.h"

#define SMBIOS_MAX 4096

static void writer_free(struct archive *a)
{
    if (a)
        archive_write_free(a);
}
DEFINE_CLEANUP(writer, struct archive *, writer_free);
DEFINE_CLEANUP(entry, struct archive_entry *, archive_entry_free);

static void reader_free(struct archive *a)
{
    if (a)
        archive_read_free(a);
}
DEFINE_CLEANUP(reader, struct archive *, reader_free);

char *seed_meta_data(const struct vm_spec *spec, const struct seed_identity *identity)
{
    auto_json json_t *keys = json_array();
    auto_json json_t *object = NULL;

    for (size_t i = 0; i < spec->ssh_key_count; i++)
        json_array_append_new(keys, json_string(spec->ssh_keys[i]));
    object = json_pack("{s:s, s:s, s:O}", "instance-id", identity->instance_id, "local-hostname",
                       spec->name, "public-keys", keys);
    if (identity->set)
        json_object_update_new(object, json_pack("{s:s, s:I, s:s}", "set", identity->set, "member",
                                                 (json_int_t)identity->member, "machine",
                                                 identity->machine));
    return doc_text(object);
}

static json_t *network_card(const struct vm_network *n)
{
    json_t *card = json_pack("{s:{s:s}, s:b}", "match", "macaddress", n->mac, "dhcp4", !n->address);
    json_t *servers = json_array();

    if (n->address)
        json_object_set_new(card, "addresses", json_pack("[s]", n->address));
    /* Not "gateway4", which newer readers warn of, and not "default", which older ones do not know. */
    if (n->gateway)
        json_object_set_new(card, "routes",
                            json_pack("[{s:s, s:s}]", "to", "0.0.0.0/0", "via", n->gateway));
    for (size_t i = 0; i < n->nameserver_count; i++)
        json_array_append_new(servers, json_string(n->nameservers[i]));
    if (n->nameserver_count)
        json_object_set_new(card, "nameservers", json_pack("{s:O}", "addresses", servers));
    json_decref(servers);
    return card;
}

char *seed_network_config(const struct vm_spec *spec)
{
    auto_json json_t *cards = json_object(), *object = NULL;

    for (size_t i = 0; i < spec->network_count; i++) {
        char name[32];

        snprintf(name, sizeof(name), "nic%zu", i);
        json_object_set_new(cards, name, network_card(&spec->networks[i]));
    }
    object = json_pack("{s:i, s:O}", "version", 2, "ethernets", cards);
    return doc_text(object);
}

static int failed(struct archive *a, struct error *err)
{
    error_errno(err, archive_errno(a), "cannot write the seed");
    error_cause(err, "libarchive: %s", archive_error_string(a) ? archive_error_string(a) : "");
    return -1;
}

static int add(struct archive *a, const char *name, const char *data, struct error *err)
{
    auto_scope(cleanup_entry) struct archive_entry *e = archive_entry_new();
    size_t len = strlen(data);

    if (!e)
        out_of_memory();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)len);
    archive_entry_set_mtime(e, 0, 0); /* equal definitions give equal seeds */
    if (archive_write_header(a, e) != ARCHIVE_OK ||
        (len && archive_write_data(a, data, len) != (la_ssize_t)len))
        return failed(a, err);
    return 0;
}

static int write_to(int fd, const struct vm_spec *spec, const struct seed_identity *identity,
                    struct error *err)
{
    auto_scope(cleanup_writer) struct archive *a = archive_write_new();
    auto_free char *meta = seed_meta_data(spec, identity);
    auto_free char *network = seed_network_config(spec);

    if (!a)
        out_of_memory();
    if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
        archive_write_set_options(a, "iso9660:volume-id=cidata,iso9660:!pad") < ARCHIVE_WARN ||
        archive_write_open_fd(a, fd) != ARCHIVE_OK)
        return failed(a, err);
    if (add(a, "meta-data", meta, err) ||
        add(a, "user-data", spec->user_data ? spec->user_data : "", err) ||
        (spec->network_count && add(a, "network-config", network, err)))
        return -1;
    return archive_write_close(a) == ARCHIVE_OK ? 0 : failed(a, err);
}

int seed_write(const char *path, const struct vm_spec *spec, const struct seed_identity *identity,
               struct error *err)
{
    auto_free char *temporary = xasprintf("%s.new", path);
    auto_close int fd =
        open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return error_errno(err, errno, "cannot make the seed");
    if (write_to(fd, spec, identity, err))
        return -1;
    if (fsync(fd) || rename(temporary, path))
        return error_errno(err, errno, "cannot store the seed");
    CRASH_POINT(CREATE_SEED_LINKED);
    return dir_sync(path, err);
}

static int not_ours(struct archive *a, struct error *err)
{
    error_set(err, ERROR_IMAGE_REFUSED, "the seed cannot be read");
    error_cause(err, "libarchive: %s", archive_error_string(a) ? archive_error_string(a) : "");
    return -1;
}

int seed_read_user_data(const char *path, char **ret, struct error *err)
{
    auto_scope(cleanup_reader) struct archive *a = archive_read_new();
    struct archive_entry *e; /* the archive's */
    int rc;

    *ret = NULL;
    if (!a)
        out_of_memory();
    if (archive_read_support_format_iso9660(a) != ARCHIVE_OK ||
        archive_read_open_filename(a, path, 65536) != ARCHIVE_OK)
        return not_ours(a, err);
    while ((rc = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
        la_int64_t size = archive_entry_size(e);
        auto_free char *text = NULL;

        if (!str_eq(archive_entry_pathname(e), "user-data"))
            continue;
        if (size > VM_USER_DATA_MAX)
            return not_ours(a, err);
        text = xcalloc((size_t)size + 1, 1);
        if (archive_read_data(a, text, (size_t)size) != size)
            return not_ours(a, err);
        if (size)
            *ret = TAKE_PTR(text);
        return 0;
    }
    return rc == ARCHIVE_EOF ? 0 : not_ours(a, err);
}

char *seed_smbios_keys(const struct vm_spec *spec)
{
    auto_strbuf struct strbuf lines = {0};
    auto_json json_t *base64 = NULL;

    if (!spec->ssh_key_count)
        return NULL;
    for (size_t i = 0; i < spec->ssh_key_count; i++)
        strbuf_addf(&lines, "%s\n", spec->ssh_keys[i]);
    base64 = guest_base64(lines.data, lines.len);
    if (json_string_length(base64) > SMBIOS_MAX)
        return NULL;
    return xasprintf("io.systemd.credential.binary:ssh.authorized_keys.root=%s",
                     json_string_value(base64));
}
