/*
 * The members of a definition that are for the guest's first boot: user data and SSH keys. User
 * data is passed on as it is, and may hold secrets: what clients see says only that there is some.
 */
#include <stdio.h>
#include <string.h>

#include "service/base/str.h"
#include "service/json/doc.h"
#include "service/vm/spec_internal.h"

int vm_spec_decode_user_data(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct vm_spec *spec = out;

    if (json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be a string");
    if (json_string_length(value) > VM_USER_DATA_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "may have at most %d bytes",
                            VM_USER_DATA_MAX);
    str_replace(&spec->user_data, json_string_value(value));
    return 0;
}

int vm_spec_decode_ssh_keys(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct vm_spec *spec = out;

    if (!json_is_array(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be an array");
    if (json_array_size(value) > VM_SSH_KEYS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "may have at most %d items",
                            VM_SSH_KEYS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        char at[128], index[24];

        snprintf(index, sizeof(index), "%zu", i);
        doc_pointer(at, sizeof(at), pointer, index);
        if (!text || !vm_spec_ssh_key_ok(text))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be one line like \"ssh-ed25519 AAAA… comment\"");
        spec->ssh_keys[spec->ssh_key_count++] = xstrdup(text);
    }
    return 0;
}

void vm_spec_add_seed(struct strbuf *b, const struct vm_spec *spec, bool whole)
{
    strbuf_adds(b, ",\"ssh_keys\":[");
    for (size_t i = 0; i < spec->ssh_key_count; i++) {
        if (i)
            strbuf_addc(b, ',');
        doc_add_string(b, spec->ssh_keys[i]);
    }
    strbuf_addc(b, ']');
    doc_add_bool(b, "cloud_init", spec->cloud_init);
    if (whole)
        doc_add_text(b, "user_data", spec->user_data);
    else
        doc_add_bool(b, "has_user_data", spec->user_data != NULL);
}

bool vm_spec_has_seed(const struct vm_spec *spec)
{
    for (size_t i = 0; i < spec->network_count; i++) {
        if (spec->networks[i].address)
            return true; /* which nothing else would tell the guest */
    }
    return spec->cloud_init || spec->user_data || spec->ssh_key_count;
}

static bool same_address(const struct vm_network *a, const struct vm_network *b)
{
    if (!str_eq(a->address, b->address) || !str_eq(a->gateway, b->gateway) ||
        a->nameserver_count != b->nameserver_count)
        return false;
    for (size_t i = 0; i < a->nameserver_count; i++) {
        if (strcmp(a->nameservers[i], b->nameservers[i]) != 0)
            return false;
    }
    return true;
}

bool vm_spec_same_seed(const struct vm_spec *a, const struct vm_spec *b)
{
    if (a->cloud_init != b->cloud_init || !str_eq(a->user_data, b->user_data) ||
        a->ssh_key_count != b->ssh_key_count)
        return false;
    for (size_t i = 0; i < a->ssh_key_count; i++) {
        if (strcmp(a->ssh_keys[i], b->ssh_keys[i]) != 0)
            return false;
    }
    for (size_t i = 0; i < a->network_count && i < b->network_count; i++) {
        if (!same_address(&a->networks[i], &b->networks[i]))
            return false;
    }
    return true;
}
