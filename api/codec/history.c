/*
 * Series as columns, the way charts want them: one list of times, and for each figure a list of
 * minima, means and maxima. Written without a tree: there can be a hundred thousand numbers.
 */
#include "api/codec/codec.h"

#include <inttypes.h>
#include <math.h>

#include "service/base/clock.h"
#include "service/json/doc.h"

static void add_column(struct strbuf *b, const char *name, const double *values, size_t count)
{
    strbuf_addf(b, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        if (i)
            strbuf_addc(b, ',');
        if (isnan(values[i]))
            strbuf_adds(b, "null");
        else
            strbuf_addf(b, "%.6g", values[i]);
    }
    strbuf_addc(b, ']');
}

static bool is_empty(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i]))
            return false;
    }
    return true;
}

static void add_figures(struct strbuf *b, const struct history_answer *a, bool host,
                        enum codec_ksm detail)
{
    const struct history_figure *figures = history_figures(host);
    bool first = true;

    for (size_t f = 0; f < HISTORY_FIGURES; f++) {
        size_t at = f * a->count;

        if ((figures[f].needs_ksm && detail != CODEC_KSM_EXACT) || is_empty(a->mean + at, a->count))
            continue;
        strbuf_addf(b, "%s\"%s\":{", first ? "" : ",", figures[f].name);
        first = false;
        add_column(b, "mean", a->mean + at, a->count);
        /* At the resolution of single samples they are all the same. */
        if (a->step > 1) {
            strbuf_addc(b, ',');
            add_column(b, "min", a->minimum + at, a->count);
            strbuf_addc(b, ',');
            add_column(b, "max", a->maximum + at, a->count);
        }
        strbuf_addc(b, '}');
    }
}

struct blob *codec_history(const char *vm_id, const struct history_answer *a, enum codec_ksm detail)
{
    auto_strbuf struct strbuf b = {0};
    char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];

    clock_format(a->from * 1000, from);
    clock_format((a->from + (int64_t)a->count * a->step) * 1000, to);
    strbuf_addf(&b, "{\"from\":\"%s\",\"to\":\"%s\",\"step_seconds\":%" PRId64
                    ",\"resolution_seconds\":%" PRId64,
                from, to, a->step, a->resolution);
    if (vm_id)
        doc_add_text(&b, "vm_id", vm_id);
    strbuf_adds(&b, ",\"times\":[");
    for (size_t i = 0; i < a->count; i++)
        strbuf_addf(&b, "%s%" PRId64, i ? "," : "", a->from + (int64_t)i * a->step);
    strbuf_adds(&b, "],\"figures\":{");
    add_figures(&b, a, !vm_id, detail);
    strbuf_adds(&b, "}}");
    return blob_new(b.data, b.len);
}
