/* See ksm_knobs.h. The order matters: while the advisor is on, the kernel refuses pages_to_scan. */
#include "service/vm/ksm_knobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/base/secret.h"
#include "service/base/str.h"

struct ksm_knobs {
    struct host *host;
    struct host_ksm_claim *claim;
    struct ksm_found found;
    bool ours[HOST_KSM_COUNT]; /* we have written it: to be restored */
    int64_t set[HOST_KSM_COUNT];
    bool advisor_ours, advisor_known, advisor_on; /* known: we have written it ourselves */
};

bool ksm_knob_is_turned(enum host_ksm_key key)
{
    return key == HOST_KSM_run || key == HOST_KSM_pages_to_scan || key == HOST_KSM_sleep_millisecs ||
           key == HOST_KSM_use_zero_pages || key == HOST_KSM_smart_scan ||
           key == HOST_KSM_advisor_max_cpu || key == HOST_KSM_advisor_min_pages_to_scan ||
           key == HOST_KSM_advisor_target_scan_time;
}

static bool take_line(const char *line, struct ksm_found *ret)
{
    char name[64], word[32];
    int64_t value;

    if (sscanf(line, "advisor_mode %15s", word) == 1 &&
        (str_eq(word, "none") || str_eq(word, "scan-time"))) {
        str_copy_utf8(ret->advisor_mode, sizeof(ret->advisor_mode), word);
        return true;
    }
    if (sscanf(line, "%63s %" SCNd64, name, &value) != 2 || value < 0)
        return false;
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (!host_ksm_is_knob((enum host_ksm_key)i) || !str_eq(name, host_ksm_name((enum host_ksm_key)i)))
            continue;
        ret->has[i] = true;
        ret->value[i] = value;
        return true;
    }
    return false;
}

bool ksm_found_parse(const char *text, const char *boot_id, struct ksm_found *ret)
{
    char line[128], boot[64];
    size_t len;

    *ret = (struct ksm_found){0};
    if (sscanf(text, "boot %63s", boot) != 1 || !str_eq(boot, boot_id))
        return false;
    text += strcspn(text, "\n");
    while (*text == '\n' && text[1]) {
        len = strcspn(++text, "\n");
        if (len >= sizeof(line))
            return false;
        memcpy(line, text, len);
        line[len] = '\0';
        if (!take_line(line, ret))
            return false;
        text += len;
    }
    return true;
}

struct ksm_knobs *ksm_knobs_new(struct host *host)
{
    struct ksm_knobs *k = xcalloc(1, sizeof(*k));

    k->host = host;
    return k;
}

void ksm_knobs_free(struct ksm_knobs *k)
{
    if (!k)
        return;
    host_ksm_claim_drop(k->claim);
    free(k);
}

bool ksm_knobs_claimed(const struct ksm_knobs *k)
{
    return k->claim != NULL;
}

const struct ksm_found *ksm_knobs_found(const struct ksm_knobs *k)
{
    return k->claim ? &k->found : NULL;
}

static void look_around(struct ksm_knobs *k)
{
    struct host_ksm now;

    host_ksm_read(k->host, &now);
    k->found = (struct ksm_found){0};
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        k->found.has[i] = now.has[i] && host_ksm_is_knob((enum host_ksm_key)i);
        k->found.value[i] = k->found.has[i] ? now.value[i] : 0;
    }
    if (now.has_advisor_mode)
        str_copy_utf8(k->found.advisor_mode, sizeof(k->found.advisor_mode), now.advisor_mode);
}

static int write_down(struct ksm_knobs *k, const char *boot_id, struct error *err)
{
    auto_strbuf struct strbuf b = {0};

    strbuf_addf(&b, "boot %s\n", boot_id);
    if (*k->found.advisor_mode)
        strbuf_addf(&b, "advisor_mode %s\n", k->found.advisor_mode);
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (k->found.has[i])
            strbuf_addf(&b, "%s %" PRId64 "\n", host_ksm_name((enum host_ksm_key)i),
                        k->found.value[i]);
    }
    return host_ksm_claim_write(k->claim, b.data, err);
}

int ksm_knobs_claim(struct ksm_knobs *k, struct error *err)
{
    auto_free char *left = NULL;
    char boot_id[UUID_TEXT];
    int rc;

    if (k->claim)
        return 1;
    if (host_boot_id(k->host, boot_id, err))
        return -1;
    rc = host_ksm_claim_take(k->host, &k->claim, &left, err);
    if (rc <= 0)
        return rc;
    if (*left && ksm_found_parse(left, boot_id, &k->found)) {
        /* A tuner crashed: what it found is what has to be restored, all that one turns. */
        for (int i = 0; i < HOST_KSM_COUNT; i++) {
            k->ours[i] = k->found.has[i] && ksm_knob_is_turned((enum host_ksm_key)i);
            k->set[i] = -1;
        }
        k->advisor_ours = *k->found.advisor_mode != '\0';
        k->advisor_known = false;
        return 1;
    }
    look_around(k);
    memset(k->ours, 0, sizeof(k->ours));
    k->advisor_ours = k->advisor_known = k->advisor_on = false;
    if (write_down(k, boot_id, err)) {
        host_ksm_claim_drop(TAKE_PTR(k->claim));
        return -1;
    }
    return 1;
}

int ksm_knobs_set(struct ksm_knobs *k, enum host_ksm_key key, int64_t value, struct error *err)
{
    if (!k->found.has[key] || (k->ours[key] && k->set[key] == value))
        return 0;
    if (host_ksm_write(k->host, key, value, err))
        return -1;
    k->ours[key] = true;
    k->set[key] = value;
    return 0;
}

int ksm_knobs_set_advisor(struct ksm_knobs *k, bool on, struct error *err)
{
    if (!*k->found.advisor_mode || (k->advisor_ours && k->advisor_on == on && k->advisor_known))
        return 0;
    if (host_ksm_write_advisor(k->host, on ? "scan-time" : "none", err))
        return -1;
    k->advisor_ours = k->advisor_known = true;
    k->advisor_on = on;
    if (on)
        k->set[HOST_KSM_pages_to_scan] = -1; /* the kernel's from here */
    return 0;
}

const char *ksm_knobs_taken(struct ksm_knobs *k, const struct host_ksm *now)
{
    if (!k->claim)
        return NULL;
    if (k->advisor_ours && k->advisor_known && now->has_advisor_mode &&
        str_eq(now->advisor_mode, "scan-time") != k->advisor_on) {
        k->advisor_ours = false;
        return "advisor_mode";
    }
    for (int i = 0; i < HOST_KSM_COUNT; i++) {
        if (!k->ours[i] || k->set[i] < 0 || !now->has[i] || now->value[i] == k->set[i])
            continue;
        k->ours[i] = false;
        return host_ksm_name((enum host_ksm_key)i);
    }
    return NULL;
}

int ksm_knobs_restore(struct ksm_knobs *k, struct error *err)
{
    struct error ignored;
    int rc = 0;

    if (!k->claim)
        return 0;
    if (k->advisor_ours && host_ksm_write_advisor(k->host, "none", err))
        rc = -1;
    /* `run` is the first of the table, and ksmd should not start with half of the others. */
    for (int i = HOST_KSM_COUNT - 1; i >= 0; i--) {
        if (k->ours[i] &&
            host_ksm_write(k->host, (enum host_ksm_key)i, k->found.value[i], rc ? &ignored : err))
            rc = -1;
    }
    if (k->advisor_ours && str_eq(k->found.advisor_mode, "scan-time") &&
        host_ksm_write_advisor(k->host, k->found.advisor_mode, rc ? &ignored : err))
        rc = -1;
    if (!rc)
        rc = host_ksm_claim_write(k->claim, "", err);
    host_ksm_claim_drop(TAKE_PTR(k->claim));
    memset(k->ours, 0, sizeof(k->ours));
    k->advisor_ours = false;
    return rc;
}
