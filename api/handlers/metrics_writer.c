/*
 * The Prometheus text format, version 0.0.4.
 */
#include "api/handlers/metrics_writer.h"

#include <assert.h>
#include <math.h>

const struct metric_row metric_rows[METRIC_COUNT] = {
#define M(symbol, name_, kind_, unit_, labels_, help_)                                             \
    [METRIC_##symbol] = {name_, METRIC_KIND_##kind_, unit_, labels_, help_},
#include "api/handlers/metrics.def"
#undef M
};

const char *metric_kind_name(enum metric_kind kind)
{
    static const char *const names[] = {"gauge", "counter", "histogram"};

    return names[kind];
}

static void begin(struct metrics_writer *w, enum metric id)
{
    const struct metric_row *row = &metric_rows[id];

    if (w->current == (int)id)
        return;
    /* Going back would split a group, which Prometheus refuses. */
    assert((int)id > w->current);
    w->current = (int)id;
    strbuf_addf(&w->text, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                metric_kind_name(row->kind));
}

static void add_label(struct strbuf *b, const struct metric_label *label)
{
    strbuf_adds(b, label->name);
    strbuf_adds(b, "=\"");
    for (const char *p = label->value; *p; p++) {
        if (*p == '\n') {
            strbuf_adds(b, "\\n");
            continue;
        }
        if (*p == '\\' || *p == '"')
            strbuf_addc(b, '\\');
        strbuf_addc(b, *p);
    }
    strbuf_addc(b, '"');
}

static void add_number(struct strbuf *b, double value)
{
    /* Counts stay readable; what is not whole gets the digits that matter. */
    if (value == floor(value) && fabs(value) < 9007199254740992.0)
        strbuf_addf(b, "%.0f", value);
    else
        strbuf_addf(b, "%.15g", value);
}

void metrics_add(struct metrics_writer *w, enum metric id, const struct metric_label *labels,
                 double value)
{
    begin(w, id);
    strbuf_adds(&w->text, metric_rows[id].name);
    for (size_t i = 0; labels && labels[i].name; i++) {
        strbuf_addc(&w->text, i ? ',' : '{');
        add_label(&w->text, &labels[i]);
    }
    if (labels && labels[0].name)
        strbuf_addc(&w->text, '}');
    strbuf_addc(&w->text, ' ');
    add_number(&w->text, value);
    strbuf_addc(&w->text, '\n');
}

void metrics_add_histogram(struct metrics_writer *w, enum metric id,
                           const struct metric_histogram *h)
{
    const char *name = metric_rows[id].name;

    begin(w, id);
    for (size_t i = 0; i < h->buckets; i++)
        strbuf_addf(&w->text, "%s_bucket{le=\"%g\"} %llu\n", name, h->bounds[i], h->cumulative[i]);
    strbuf_addf(&w->text, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", name, h->count, name);
    add_number(&w->text, h->sum);
    strbuf_addf(&w->text, "\n%s_count %llu\n", name, h->count);
}
