/*
 * What a guest agent says, into our structs. Pure: no I/O, no state. Whatever is not as it should
 * be is left out or refused; nothing here trusts a length, a kind or a character of the guest's.
 */
#include "service/vm/guest_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "service/base/str.h"
#include "service/json/doc.h"

static const struct doc_limits limits = {
    .bytes = 16 * 1024 * 1024, .depth = 16, .tokens = 32768};

static void clean(const char *text, char *ret, size_t size)
{
    str_copy_utf8(ret, size, text);
    for (char *p = ret; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
}

void guest_reply_text(const json_t *object, const char *name, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    clean(text ? text : "", ret, size);
}

int guest_reply_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
                    struct error *err)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent answered without a usable %s",
                         name);
    *ret = json_integer_value(value);
    return 0;
}

static int nonsense(bool *ret, struct error *err)
{
    *ret = true;
    return error_set(err, ERROR_AGENT_FAILED, "the guest agent answered nonsense");
}

int guest_reply_parse(const char *line, size_t len, json_t **ret, bool *ret_nonsense,
                      struct error *err)
{
    auto_json json_t *answer = NULL;
    const json_t *failure;
    struct error why;
    json_t *value;
    char text[180];

    *ret_nonsense = false;
    if (!len || doc_parse(line, len, &limits, &answer, &why) || !json_is_object(answer))
        return nonsense(ret_nonsense, err);
    failure = json_object_get(answer, "error");
    if (json_is_object(failure)) {
        guest_reply_text(failure, "desc", text, sizeof(text));
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent says: %s",
                         *text ? text : "an error without words");
    }
    value = json_object_get(answer, "return");
    if (!value)
        return nonsense(ret_nonsense, err);
    *ret = json_incref(value);
    return 0;
}

/* ---- what there is ---- */

void guest_reply_os(const json_t *value, struct guest_info *ret)
{
    ret->has_os = json_is_object(value);
    guest_reply_text(value, "id", ret->os.id, sizeof(ret->os.id));
    guest_reply_text(value, "pretty-name", ret->os.name, sizeof(ret->os.name));
    guest_reply_text(value, "version-id", ret->os.version, sizeof(ret->os.version));
    guest_reply_text(value, "kernel-release", ret->os.kernel, sizeof(ret->os.kernel));
    guest_reply_text(value, "machine", ret->os.arch, sizeof(ret->os.arch));
}

void guest_reply_users(const json_t *value, struct guest_info *ret)
{
    ret->has_users = json_is_array(value);
    for (size_t i = 0; i < json_array_size(value) && ret->user_count < GUEST_USERS_MAX; i++) {
        const json_t *item = json_array_get(value, i);
        double at = json_number_value(json_object_get(item, "login-time"));
        struct guest_user *u = &ret->users[ret->user_count];

        guest_reply_text(item, "user", u->name, sizeof(u->name));
        /* Seconds with a fraction; out of this world: left out. */
        u->login_at = at > 0 && at < 1e11 ? (int64_t)(at * 1000) : 0;
        ret->user_count += *u->name != '\0';
    }
}

static bool size_of(const json_t *item, const char *name, uint64_t *ret)
{
    const json_t *value = json_object_get(item, name);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

void guest_reply_filesystems(const json_t *value, struct guest_info *ret)
{
    ret->has_filesystems = json_is_array(value);
    for (size_t i = 0; i < json_array_size(value) && ret->filesystem_count < GUEST_FILESYSTEMS_MAX;
         i++) {
        const json_t *item = json_array_get(value, i);
        struct guest_filesystem *f = &ret->filesystems[ret->filesystem_count];

        guest_reply_text(item, "mountpoint", f->mountpoint, sizeof(f->mountpoint));
        guest_reply_text(item, "type", f->type, sizeof(f->type));
        guest_reply_text(item, "name", f->device, sizeof(f->device));
        f->has_size = size_of(item, "total-bytes", &f->total_bytes) &&
                      size_of(item, "used-bytes", &f->used_bytes);
        ret->filesystem_count += *f->mountpoint != '\0';
    }
}

static bool mac_is_usable(const char *text)
{
    if (strlen(text) != 17 || str_eq(text, "00:00:00:00:00:00"))
        return false;
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !strchr("0123456789abcdefABCDEF", text[i]))
            return false;
    }
    return true;
}

/* Only what is an address: it ends up in URLs and known_hosts files. */
static bool read_address(const json_t *item, struct guest_address *ret)
{
    const char *text = json_string_value(json_object_get(item, "ip-address"));
    const json_t *prefix = json_object_get(item, "prefix");
    unsigned char raw[16];

    if (!text || strlen(text) >= sizeof(ret->address))
        return false;
    ret->ipv6 = strchr(text, ':') != NULL;
    if (inet_pton(ret->ipv6 ? AF_INET6 : AF_INET, text, raw) != 1 ||
        !inet_ntop(ret->ipv6 ? AF_INET6 : AF_INET, raw, ret->address, sizeof(ret->address)))
        return false;
    ret->prefix = json_is_integer(prefix) && json_integer_value(prefix) >= 0 &&
                          json_integer_value(prefix) <= (ret->ipv6 ? 128 : 32)
                      ? json_integer_value(prefix)
                      : -1;
    return true;
}

void guest_reply_interfaces(const json_t *value, struct guest_interface *ret, size_t max,
                            size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < json_array_size(value) && *ret_count < max; i++) {
        const json_t *item = json_array_get(value, i);
        const json_t *addresses = json_object_get(item, "ip-addresses");
        struct guest_interface *n = &ret[*ret_count];

        *n = (struct guest_interface){0};
        guest_reply_text(item, "name", n->name, sizeof(n->name));
        guest_reply_text(item, "hardware-address", n->mac, sizeof(n->mac));
        if (!mac_is_usable(n->mac))
            n->mac[0] = '\0';
        for (size_t j = 0; j < json_array_size(addresses) && n->address_count < GUEST_ADDRESSES_MAX;
             j++)
            n->address_count +=
                read_address(json_array_get(addresses, j), &n->addresses[n->address_count]);
        *ret_count += *n->name != '\0';
    }
}

/* ---- bytes ---- */

json_t *guest_base64(const void *data, size_t len)
{
    size_t size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
    auto_free char *text = xcalloc(size, 1);

    sodium_bin2base64(text, size, data, len, sodium_base64_VARIANT_ORIGINAL);
    return json_string(text);
}

int guest_reply_bytes(const json_t *value, size_t max, char **ret, size_t *ret_len,
                      struct error *err)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    auto_free char *data = NULL;

    if (!text || len > max / 3 * 4 + 8)
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent sent no usable data");
    data = xcalloc(len / 4 * 3 + 4, 1);
    if (sodium_base642bin((unsigned char *)data, len / 4 * 3 + 3, text, len, NULL, ret_len, NULL,
                          sodium_base64_VARIANT_ORIGINAL))
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent sent data that is not base64");
    *ret = TAKE_PTR(data);
    return 0;
}

void guest_output_done(struct guest_output *o)
{
    free(o->data);
    *o = (struct guest_output){0};
}

static int read_output(const json_t *value, const char *name, const char *truncated, bool cut,
                       struct guest_output *ret, struct error *err)
{
    const json_t *data = json_object_get(value, name);

    ret->truncated = json_is_true(json_object_get(value, truncated)) ||
                     (cut && json_string_length(data) >= GUEST_STRING_MAX);
    return data ? guest_reply_bytes(data, GUEST_OUTPUT_MAX + 3, &ret->data, &ret->len, err) : 0;
}

int guest_reply_status(const json_t *value, bool cut, struct guest_status *ret, struct error *err)
{
    const json_t *exited = json_object_get(value, "exited");
    int64_t code = -1, number = 0;

    if (!json_is_boolean(exited))
        return error_set(err, ERROR_AGENT_FAILED, "the guest agent does not say how a program is");
    ret->exited = json_is_true(exited);
    if (!ret->exited)
        return 0;
    if (json_object_get(value, "signal")) {
        if (guest_reply_int(value, "signal", 0, 255, &number, err))
            return -1;
    } else if (json_object_get(value, "exitcode") &&
               guest_reply_int(value, "exitcode", INT32_MIN, INT32_MAX, &code, err)) {
        return -1;
    }
    ret->exit_code = (int)code;
    ret->signal = (int)number;
    return read_output(value, "out-data", "out-truncated", cut, &ret->out, err) ||
                   read_output(value, "err-data", "err-truncated", cut, &ret->err, err)
               ? -1
               : 0;
}
