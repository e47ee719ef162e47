/* The NoCloud seed, read back. */
#include <archive.h>
#include <archive_entry.h>

#include "service/json/doc.h"
#include "service/vm/seed.h"
#include "tests/support/test.h"

#define ID  "11111111-2222-4333-8444-555555555555"
#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGfoOTaTJ5mWc0ZeJH8xqTFDiJ0bL6cTpVGwBqPJ2fQk"

static const struct seed_identity plain = {.instance_id = ID};

static struct vm_spec *spec_of(const char *text)
{
    auto_json json_t *object = json_loads(text, 0, NULL);
    struct vm_spec *spec = NULL;
    struct error err = ERROR_INIT;

    if (!object || vm_spec_decode(object, &spec, NULL, &err))
        test_fail(__FILE__, __LINE__, err.detail);
    return spec;
}

/* The content of one file of an image; NULL: none. */
static char *read_member(const char *path, const char *name)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    char *text = NULL;

    archive_read_support_format_iso9660(a);
    if (archive_read_open_filename(a, path, 10240) == ARCHIVE_OK) {
        while (!text && archive_read_next_header(a, &e) == ARCHIVE_OK) {
            if (strcmp(archive_entry_pathname(e), name) != 0)
                continue;
            text = calloc((size_t)archive_entry_size(e) + 1, 1);
            if (archive_read_data(a, text, (size_t)archive_entry_size(e)) != archive_entry_size(e))
                test_fail(__FILE__, __LINE__, "short read");
        }
    }
    archive_read_free(a);
    return text;
}

static char *temporary(void)
{
    static char dir[] = "/tmp/drover-seed-XXXXXX";
    static char path[64];

    if (!*path && !mkdtemp(dir))
        abort();
    snprintf(path, sizeof(path), "%s/seed.iso", dir);
    return path;
}

TEST(all_three_files_are_in_it)
{
    auto_vm_spec struct vm_spec *spec =
        spec_of("{\"name\":\"web-1\",\"user_data\":\"#cloud-config\\n\",\"ssh_keys\":[\"" KEY "\"]}");
    const char *path = temporary();
    struct error err = ERROR_INIT;

    CHECK_OK(seed_write(path, spec, &plain, &err));
    auto_free char *user = read_member(path, "user-data");
    auto_free char *meta = read_member(path, "meta-data");
    auto_free char *network = read_member(path, "network-config");
    CHECK_STR(user, "#cloud-config\n");
    CHECK_STR(meta, "{\"instance-id\":\"" ID "\",\"local-hostname\":\"web-1\",\"public-keys\":[\"" KEY
                    "\"]}");
    CHECK(network && strstr(network, spec->networks[0].mac));
}

TEST(an_address_of_its_own_and_a_place_in_a_set)
{
    auto_vm_spec struct vm_spec *spec = spec_of(
        "{\"name\":\"a\",\"networks\":[{\"mode\":\"bridge\",\"source\":\"br0\",\"address\":\"10.40.7.10/24\","
        "\"gateway\":\"10.40.7.1\",\"nameservers\":[\"9.9.9.9\"]},{\"mode\":\"user\"}]}");
    const struct seed_identity seventh = {
        .instance_id = ID "-2", .set = "course", .machine = "web", .member = 7};
    const char *path = temporary();
    struct error err = ERROR_INIT;

    CHECK(vm_spec_has_seed(spec));
    CHECK_OK(seed_write(path, spec, &seventh, &err));
    auto_free char *meta = read_member(path, "meta-data");
    auto_free char *network = read_member(path, "network-config");
    CHECK_STR(meta, "{\"instance-id\":\"" ID "-2\",\"local-hostname\":\"a\",\"public-keys\":[],"
                    "\"set\":\"course\",\"member\":7,\"machine\":\"web\"}");
    CHECK(strstr(network, "\"dhcp4\":false,\"addresses\":[\"10.40.7.10/24\"],\"routes\":[{\"to\":\"0.0.0.0/0\","
                          "\"via\":\"10.40.7.1\"}],\"nameservers\":{\"addresses\":[\"9.9.9.9\"]}}"));
    CHECK(strstr(network, "\"dhcp4\":true"));
}

TEST(user_data_is_passed_on_to_the_byte)
{
    auto_vm_spec struct vm_spec *spec =
        spec_of("{\"name\":\"a\",\"user_data\":\"Content-Type: multipart/mixed\\r\\n\\u0001\\t\xc3\xbc'\\\"]]>\"}");
    const char *path = temporary();
    struct error err = ERROR_INIT;

    CHECK_OK(seed_write(path, spec, &plain, &err));
    auto_free char *user = read_member(path, "user-data");
    CHECK_STR(user, spec->user_data);
}

TEST(a_vm_without_networks_configures_none)
{
    auto_vm_spec struct vm_spec *spec = spec_of("{\"name\":\"a\",\"cloud_init\":true,\"networks\":[]}");
    const char *path = temporary();
    struct error err = ERROR_INIT;

    CHECK(vm_spec_has_seed(spec));
    CHECK_OK(seed_write(path, spec, &plain, &err));
    CHECK(!read_member(path, "network-config"));
    auto_free char *user = read_member(path, "user-data");
    CHECK_STR(user, "");
}

TEST(it_is_labelled_for_cloud_init)
{
    FILE *f = fopen(temporary(), "rb");
    char label[33] = "";

    CHECK(f && fseek(f, 0x8000 + 40, SEEK_SET) == 0 && fread(label, 1, 32, f) == 32);
    fclose(f);
    CHECK(strncasecmp(label, "cidata", 6) == 0 && label[6] == ' ');
}

TEST(what_cannot_be_written_is_said)
{
    auto_vm_spec struct vm_spec *spec = spec_of("{\"name\":\"a\",\"cloud_init\":true}");
    struct error err = ERROR_INIT;

    CHECK(seed_write("/nonexistent/seed.iso", spec, &plain, &err));
    CHECK(*err.detail);
}

TEST(secrets_are_stored_and_not_shown)
{
    auto_vm_spec struct vm_spec *spec = spec_of("{\"name\":\"a\",\"user_data\":\"hidden\"}");
    auto_free char *shown = vm_spec_text(spec), *stored = vm_spec_stored_text(spec);

    CHECK(!strstr(shown, "hidden") && strstr(shown, "\"has_user_data\":true"));
    CHECK(strstr(stored, "hidden") && !strstr(stored, "has_user_data"));
}

TEST(keys_become_a_credential)
{
    auto_vm_spec struct vm_spec *none = spec_of("{\"name\":\"a\"}");
    auto_vm_spec struct vm_spec *some = spec_of("{\"name\":\"a\",\"ssh_keys\":[\"" KEY "\"]}");
    auto_free char *text = seed_smbios_keys(some);

    CHECK(!seed_smbios_keys(none) && !vm_spec_has_seed(none));
    CHECK(text && strncmp(text, "io.systemd.credential.binary:ssh.authorized_keys.root=c3No", 58) == 0);
}

TEST_MAIN();
