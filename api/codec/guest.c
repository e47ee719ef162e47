/*
 * Guests as JSON. What a guest said is text of a stranger's: it was cut and cleaned when it was
 * read, and is only ever data here.
 */
#include "api/codec/guest.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/codec/codec.h"
#include "service/base/str.h"
#include "service/json/doc.h"

/* ---- out ---- */

static json_t *text_or_null(bool has, const char *text)
{
    return has ? json_string(text) : json_null();
}

static json_t *os(const struct guest_info *info)
{
    if (!info->has_os)
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", info->os.id, "name", info->os.name,
                     "version", info->os.version, "kernel", info->os.kernel, "architecture",
                     info->os.arch);
}

static json_t *users(const struct guest_info *info)
{
    json_t *array = json_array();

    for (size_t i = 0; i < info->user_count; i++)
        json_array_append_new(array, json_pack("{s:s, s:o}", "name", info->users[i].name,
                                               "login_at", codec_time(info->users[i].login_at)));
    return array;
}

static json_t *addresses_of(const struct guest_interface *n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n->address_count; i++) {
        const struct guest_address *a = &n->addresses[i];

        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:o}", "address", a->address, "family",
                                        a->ipv6 ? "ipv6" : "ipv4", "prefix",
                                        a->prefix < 0 ? json_null() : json_integer(a->prefix)));
    }
    return array;
}

static json_t *interfaces(const struct guest_info *info)
{
    json_t *array = json_array();

    for (size_t i = 0; i < info->interface_count; i++) {
        const struct guest_interface *n = &info->interfaces[i];

        json_array_append_new(array,
                              json_pack("{s:s, s:o, s:o}", "name", n->name, "mac",
                                        text_or_null(*n->mac, n->mac), "addresses",
                                        addresses_of(n)));
    }
    return array;
}

json_t *codec_guest(const struct guest_info *info)
{
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state", guest_state_name(info->state),
        "reason", info->reason, "last_contact_at", codec_time(info->contact_at), "version",
        text_or_null(*info->version, info->version), "os", os(info), "hostname",
        text_or_null(info->has_hostname, info->hostname), "users",
        info->has_users ? users(info) : json_null(), "filesystems",
        info->has_filesystems
            ? codec_guest_filesystems(info->filesystems, info->filesystem_count)
            : json_null(),
        "interfaces",
        info->has_interfaces ? interfaces(info) : json_null());
}

json_t *codec_guest_addresses(const struct guest_found *found)
{
    json_t *array = json_array();

    for (size_t i = 0; i < found->count; i++) {
        const struct guest_found_address *a = &found->items[i];

        json_array_append_new(
            array, json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "address", a->address, "family",
                             a->ipv6 ? "ipv6" : "ipv4", "prefix",
                             a->prefix < 0 ? json_null() : json_integer(a->prefix), "mac",
                             text_or_null(*a->mac, a->mac), "interface",
                             text_or_null(*a->interface, a->interface), "source",
                             guest_source_name(a->source)));
    }
    return array;
}

/* Text as it is when it is text, base64 when it is not. */
static void add_output(json_t *item, const char *name, const struct guest_output *o)
{
    auto_free char *encoding = xasprintf("%s_encoding", name);
    auto_free char *truncated = xasprintf("%s_truncated", name);
    size_t len = o->len;
    bool text;

    if (len > GUEST_OUTPUT_MAX)
        len = GUEST_OUTPUT_MAX;
    text = str_is_utf8(o->data ? o->data : "", len) && !(o->data && memchr(o->data, '\0', len));
    json_object_set_new(item, name,
                        text ? json_stringn(o->data ? o->data : "", len)
                             : guest_base64(o->data, len));
    json_object_set_new(item, encoding, json_string(text ? "utf-8" : "base64"));
    json_object_set_new(item, truncated, json_boolean(o->truncated || o->len > len));
}

static json_t *outcome(const struct guest_outcome *o)
{
    json_t *item = json_pack(
        "{s:o, s:o, s:b, s:I}", "exit_code",
        o->ran && !o->signal && o->exit_code >= 0 ? json_integer(o->exit_code) : json_null(),
        "signal", o->signal ? json_integer(o->signal) : json_null(), "timed_out", o->timed_out,
        "duration_ms", (json_int_t)o->duration_ms);

    add_output(item, "stdout", &o->out);
    add_output(item, "stderr", &o->err);
    return item;
}

static json_t *step_outcome(const struct guest_outcome *o)
{
    json_t *item = outcome(o);
    json_t *problem = json_null();
    bool failed = o->error.code != ERROR_NONE;

    if (failed)
        problem = json_pack("{s:s, s:s}", "code", error_slug(o->error.code), "detail",
                            o->error.detail);
    json_object_set_new(item, "state",
                        json_string(failed ? "failed" : o->ran ? "ran" : "skipped"));
    json_object_set_new(item, "problem", problem);
    return item;
}

json_t *codec_guest_exec(const struct guest_exec *x)
{
    json_t *array, *result;
    bool succeeded = true;

    if (!x->has_steps)
        return outcome(&x->outcomes[0]);
    array = json_array();
    for (size_t i = 0; i < x->step_count; i++) {
        const struct guest_outcome *o = &x->outcomes[i];

        succeeded = succeeded && o->ran && !o->timed_out && o->exit_code == 0;
        json_array_append_new(array, step_outcome(o));
    }
    result = json_pack("{s:b, s:o}", "succeeded", succeeded, "results", array);
    return result;
}

json_t *codec_exec(const struct exec_info *e)
{
    json_t *argv = json_array(), *problem = json_null();
    bool exited = e->state == EXEC_ENDED && !e->signal && e->exit_code >= 0;

    for (char *const *p = e->step->argv; *p; p++)
        json_array_append_new(argv, json_string(*p));
    if (e->error.code != ERROR_NONE)
        problem = json_pack("{s:s, s:s}", "code", error_slug(e->error.code), "detail", e->error.detail);
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:b, s:b, s:o, s:o, s:b, s:b, s:I, s:I, s:I, s:o, s:o, s:I, s:s, s:o}", "id",
        e->id, "vm_id", e->vm_id, "argv", argv, "state", exec_state_name(e->state), "stream", (int)e->stream,
        "attached", (int)e->attached, "exit_code", exited ? json_integer(e->exit_code) : json_null(),
        "signal", e->signal ? json_integer(e->signal) : json_null(), "timed_out", (int)e->timed_out,
        "output_cut", (int)e->cut, "stdout_bytes", (json_int_t)e->total[EXEC_STDOUT], "stderr_bytes",
        (json_int_t)e->total[EXEC_STDERR], "stdin_bytes", (json_int_t)e->input, "created_at",
        codec_time(e->created_at), "ended_at", codec_time(e->ended_at), "duration_ms",
        (json_int_t)e->duration_ms, "created_by", e->actor, "problem", problem);
}

/* ---- in ---- */

#define ARGUMENT_MAX 32768
#define TIMEOUT_MAX  3600

static int item_at(char ret[128], const char *base, size_t i)
{
    char index[24];

    snprintf(index, sizeof(index), "%zu", i);
    doc_pointer(ret, 128, base, index);
    return 0;
}

static int decode_argv(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct guest_step *s = out;
    size_t count = json_array_size(value);

    if (!json_is_array(value) || count == 0 || count > GUEST_ARGV_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of 1 to %d strings", GUEST_ARGV_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(value, i);
        char at[128];

        item_at(at, pointer, i);
        if (!json_is_string(item) || json_string_length(item) > ARGUMENT_MAX ||
            (i == 0 && json_string_length(item) == 0))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                i ? "must be a string of at most %d bytes"
                                  : "must be a program's name or path, of at most %d bytes",
                                ARGUMENT_MAX);
        s->argv[i] = xstrdup(json_string_value(item));
    }
    return 0;
}

static bool variable_ok(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && *name != '_')
            return false;
    }
    return true;
}

static int decode_environment(const json_t *value, const char *pointer, void *out,
                              struct error *err)
{
    struct guest_step *s = out;
    const char *name;
    json_t *item;
    size_t n = 0;

    if (!json_is_object(value) || json_object_size(value) > GUEST_ENV_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an object of at most %d members", GUEST_ENV_MAX);
    json_object_foreach((json_t *)(uintptr_t)value, name, item)
    {
        char at[128];

        doc_pointer(at, sizeof(at), pointer, name);
        if (!variable_ok(name) || strlen(name) > 128)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "is not the name of a variable: letters, digits and '_'");
        if (!json_is_string(item) || json_string_length(item) > ARGUMENT_MAX)
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be a string of at most %d bytes", ARGUMENT_MAX);
        s->environment[n++] = xasprintf("%s=%s", name, json_string_value(item));
    }
    return 0;
}

static int take_input(struct guest_step *s, const char *pointer, char *data, size_t len,
                      struct error *err)
{
    if (s->input) {
        free(data);
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "does not go with another stdin");
    }
    if (len > GUEST_STDIN_MAX) {
        free(data);
        error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "may have at most %d bytes",
                     GUEST_STDIN_MAX);
        error_remedy(err, "Send it as a file, with PUT /v1/vms/{vm}/files.");
        return -1;
    }
    s->input = data;
    s->input_len = len;
    return 0;
}

static int decode_stdin(const json_t *value, const char *pointer, void *out, struct error *err)
{
    if (!json_is_string(value))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be a string");
    return take_input(out, pointer, xstrdup(json_string_value(value)), json_string_length(value),
                      err);
}

static int decode_stdin_base64(const json_t *value, const char *pointer, void *out,
                               struct error *err)
{
    struct error ignored;
    char *data = NULL;
    size_t len = 0;

    if (!json_is_string(value) ||
        guest_reply_bytes(value, GUEST_STDIN_MAX + 3, &data, &len, &ignored))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be base64 of at most %d bytes", GUEST_STDIN_MAX);
    return take_input(out, pointer, data, len, err);
}

static int decode_timeout(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct guest_step *s = out;

    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        json_integer_value(value) > TIMEOUT_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "must be from 1 to %d",
                            TIMEOUT_MAX);
    s->timeout_ms = json_integer_value(value) * 1000;
    return 0;
}

#define STEP_FIELDS                                                                                \
    {.name = "argv", .kind = DOC_CUSTOM, .required = true, .decode = decode_argv},                 \
        {.name = "environment", .kind = DOC_CUSTOM, .decode = decode_environment},                 \
        {.name = "stdin", .kind = DOC_CUSTOM, .nullable = true, .decode = decode_stdin},           \
        {.name = "stdin_base64",                                                                   \
         .kind = DOC_CUSTOM,                                                                       \
         .nullable = true,                                                                         \
         .decode = decode_stdin_base64},                                                           \
        {.name = "record", .kind = DOC_BOOL, .offset = offsetof(struct guest_step, recorded)},     \
    {                                                                                              \
        .name = "timeout_seconds", .kind = DOC_CUSTOM, .decode = decode_timeout                    \
    }

static int decode_step(const json_t *value, const char *pointer, struct guest_step *ret,
                       struct error *err)
{
    static const struct doc_field fields[] = {STEP_FIELDS};

    ret->timeout_ms = 30000;
    ret->recorded = true;
    return doc_decode(value, pointer, fields, DOC_COUNT(fields), ret, err);
}

static int decode_steps(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct guest_exec *x = out;
    size_t count = json_array_size(value);

    if (!json_is_array(value) || count == 0 || count > GUEST_STEPS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of 1 to %d steps", GUEST_STEPS_MAX);
    for (size_t i = 0; i < count; i++) {
        char at[128];

        item_at(at, pointer, i);
        x->step_count = i + 1;
        if (decode_step(json_array_get(value, i), at, &x->steps[i], err))
            return -1;
    }
    return 0;
}

struct program {
    struct guest_step step; /* first: its fields are decoded into it */
    bool stream;
};

static int decode_program(const json_t *body, struct guest_exec *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        STEP_FIELDS,
        {.name = "stream", .kind = DOC_BOOL, .offset = offsetof(struct program, stream)},
    };
    struct program p = {.step = {.timeout_ms = 30000, .recorded = true}};
    int rc = doc_decode(body, "", fields, DOC_COUNT(fields), &p, err);

    ret->step_count = 1;
    ret->steps[0] = p.step; /* owned now, also what was decoded before a failure */
    ret->stream = p.stream;
    return rc;
}

int codec_decode_exec(const json_t *body, struct guest_exec *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "steps", .kind = DOC_CUSTOM, .required = true, .decode = decode_steps},
        {.name = "keep_going", .kind = DOC_BOOL, .offset = offsetof(struct guest_exec, keep_going)},
    };

    ret->has_steps = json_object_get(body, "steps") != NULL;
    if (ret->has_steps)
        return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
    return decode_program(body, ret, err);
}

int codec_decode_freeze(const json_t *body, struct codec_freeze *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "seconds", .kind = DOC_INT, .offset = offsetof(struct codec_freeze, seconds),
         .min = 1, .max = 600},
    };

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

static bool user_ok(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > 32 || *name == '-')
        return false;
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    }
    return true;
}

#define USER_FIELD(type)                                                                           \
    {                                                                                              \
        .name = "user", .kind = DOC_STRING, .required = true, .offset = offsetof(struct type, user), \
        .min = 1, .max = 32, .valid = user_ok,                                                     \
        .form = "a user's name: letters, digits, '.', '_' and '-'"                                 \
    }

int codec_decode_password(const json_t *body, struct codec_password *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        USER_FIELD(codec_password),
        {.name = "password", .kind = DOC_STRING, .required = true,
         .offset = offsetof(struct codec_password, password), .min = 1, .max = 512},
        {.name = "crypted", .kind = DOC_BOOL, .offset = offsetof(struct codec_password, crypted)},
    };

    if (doc_decode(body, "", fields, DOC_COUNT(fields), ret, err))
        return -1;
    if (strpbrk(ret->password, "\n\t"))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/password",
                            "must not contain control characters");
    return 0;
}

void codec_password_done(struct codec_password *p)
{
    free(p->user);
    free(p->password);
}

static int decode_keys(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct codec_ssh_keys *k = out;

    if (!json_is_array(value) || json_array_size(value) > CODEC_KEYS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "must be an array of at most %d keys", CODEC_KEYS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        char at[128];

        item_at(at, pointer, i);
        if (!text || !vm_spec_ssh_key_ok(text))
            return error_set_at(err, ERROR_VALIDATION_FAILED, at,
                                "must be one line like \"ssh-ed25519 AAAA… comment\"");
        k->keys[k->count++] = xstrdup(text);
    }
    return 0;
}

int codec_decode_ssh_keys(const json_t *body, struct codec_ssh_keys *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        USER_FIELD(codec_ssh_keys),
        {.name = "keys", .kind = DOC_CUSTOM, .required = true, .decode = decode_keys},
        {.name = "replace", .kind = DOC_BOOL, .offset = offsetof(struct codec_ssh_keys, replace)},
    };

    return doc_decode(body, "", fields, DOC_COUNT(fields), ret, err);
}

void codec_ssh_keys_done(struct codec_ssh_keys *k)
{
    free(k->user);
    for (size_t i = 0; i < k->count; i++)
        free(k->keys[i]);
}
