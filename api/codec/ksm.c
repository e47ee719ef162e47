/*
 * KSM under the kernel's own names: as JSON, and the body that changes its knobs.
 */
#include "api/codec/codec.h"

#include <stdlib.h>

#include "service/json/doc.h"

enum ksm_kind { KNOB, GAUGE, COUNTER };

static const struct {
    const char *name;
    enum ksm_kind kind;
} keys[] = {
#define K(name_, kind_, help_) {#name_, kind_},
#include "service/host/ksm.def"
#undef K
};

enum codec_ksm codec_ksm_for(const struct principal *principal)
{
    return principal->scopes & ACCESS_KSM_READ ? CODEC_KSM_EXACT : CODEC_KSM_COARSE;
}

static void put_cost(json_t *object, const struct host_ksm *ksm)
{
    double mib = (double)ksm->saved_bytes / (1 << 20);

    if (ksm->has_ksmd_cpu && ksm->has_saved && mib >= 1)
        json_object_set_new(object, "ksmd_cpu_seconds_per_saved_mib",
                            json_real(ksm->ksmd_cpu_seconds / mib));
}

static json_t *decisions_json(const struct ksm_tuner_status *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->decision_count; i++) {
        const struct ksm_decision *d = &t->decisions[i];

        json_array_append_new(list, json_pack("{s:o, s:s, s:s, s:I, s:s}", "at", codec_time(d->at),
                                              "mode", ksm_mode_name(d->mode), "phase", d->phase,
                                              "budget_percent", (json_int_t)d->budget_percent,
                                              "reason", d->reason));
    }
    return list;
}

static json_t *tuner_json(const struct ksm_tuner_status *t)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:o, s:I, s:I, s:I}", "mode", ksm_mode_name(t->mode), "phase", t->phase,
        "reason", t->reason, "changed_at", codec_time(t->changed_at), "cpu_percent",
        (json_int_t)t->cpu_percent, "boost_cpu_percent", (json_int_t)t->boost_cpu_percent,
        "budget_percent", (json_int_t)t->budget_percent);
    json_t *found = json_object();

    for (int i = 0; t->holds && i < HOST_KSM_COUNT; i++) {
        if (t->found_has[i])
            json_object_set_new(found, keys[i].name, json_integer(t->found[i]));
    }
    json_object_set_new(object, "decisions", decisions_json(t));
    json_object_set_new(object, "found", t->holds ? json_incref(found) : json_null());
    json_decref(found);
    return object;
}

json_t *codec_ksm(const struct host_ksm *ksm, const struct ksm_tuner_status *tuner,
                  enum codec_ksm detail)
{
    json_t *counters = json_object(), *knobs = json_object();
    json_t *object =
        json_pack("{s:b, s:I, s:o, s:o}", "available", ksm->available, "page_size_bytes",
                  (json_int_t)ksm->page_size_bytes, "counters", counters, "knobs", knobs);
    bool exact = detail == CODEC_KSM_EXACT;

    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (ksm->has[i] && (exact || keys[i].kind == KNOB))
            json_object_set_new(keys[i].kind == KNOB ? knobs : counters, keys[i].name,
                                json_integer(ksm->value[i]));
    }
    if (!exact)
        json_object_set_new(object, "coarse", json_true());
    if (ksm->has_saved)
        json_object_set_new(object, "saved_bytes",
                            json_integer((json_int_t)(exact ? ksm->saved_bytes
                                                            : ksm_coarse(ksm->saved_bytes))));
    if (ksm->has_ksmd_cpu)
        json_object_set_new(object, "ksmd_cpu_seconds", json_real(ksm->ksmd_cpu_seconds));
    if (exact)
        put_cost(object, ksm);
    if (tuner)
        json_object_set_new(object, "tuner", tuner_json(tuner));
    if (ksm->has_advisor_mode)
        json_object_set_new(object, "advisor_mode", json_string(ksm->advisor_mode));
    return object;
}

static int decode_knobs(const json_t *value, const char *pointer, void *out, struct error *err)
{
    struct ksm_tuner_patch *patch = out;
    struct doc_field fields[HOST_KSM_COUNT] = {0};
    size_t count = 0;

    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (keys[i].kind == KNOB)
            fields[count++] = (struct doc_field){
                .name = keys[i].name,
                .kind = DOC_INT,
                .offset = (size_t)((char *)&patch->knob[i] - (char *)patch),
                .max = 1000000000,
            };
    }
    if (doc_decode(value, pointer, fields, count, patch, err))
        return -1;
    for (int i = 0; i < HOST_KSM_COUNT; i++)
        patch->has_knob[i] = json_object_get(value, keys[i].name) != NULL;
    return 0;
}

static int decode_tuner(const json_t *value, const char *pointer, void *out, struct error *err)
{
    static const char *const modes[] = {"off", "static", "auto", NULL};
    struct {
        int mode;
        int64_t cpu, boost;
    } t = {.mode = -1};
    const struct doc_field fields[] = {
        {.name = "mode", .kind = DOC_ENUM, .offset = 0, .choices = modes},
        {.name = "cpu_percent",
         .kind = DOC_INT,
         .offset = (size_t)((char *)&t.cpu - (char *)&t),
         .min = 1,
         .max = 100},
        {.name = "boost_cpu_percent",
         .kind = DOC_INT,
         .offset = (size_t)((char *)&t.boost - (char *)&t),
         .min = 1,
         .max = 100},
    };
    struct ksm_tuner_patch *patch = out;

    if (doc_decode(value, pointer, fields, DOC_COUNT(fields), &t, err))
        return -1;
    patch->has_mode = t.mode >= 0;
    if (patch->has_mode)
        patch->mode = (enum ksm_mode)t.mode;
    patch->cpu_percent = t.cpu;
    patch->boost_cpu_percent = t.boost;
    return 0;
}

int codec_decode_ksm(const json_t *body, struct ksm_tuner_patch *ret, struct error *err)
{
    static const struct doc_field fields[] = {
        {.name = "knobs", .kind = DOC_CUSTOM, .decode = decode_knobs},
        {.name = "tuner", .kind = DOC_CUSTOM, .decode = decode_tuner},
    };

    if (doc_decode(body, "", fields, DOC_COUNT(fields), ret, err))
        return -1;
    if (!json_object_size(body))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/knobs", "knobs or tuner is required");
    return 0;
}
