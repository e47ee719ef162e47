/*
 * The Prometheus text format, version 0.0.4.
 */
#include "api/handlers/metrics_writer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
    const char *p = label->value;

    strbuf_adds(b, label->name);
    strbuf_add(b, "=\"", 2);
    for (;;) {
        size_t plain = strcspn(p, "\n\\\"");

        strbuf_add(b, p, plain);
        p += plain;
        if (!*p)
            break;
        strbuf_addc(b, '\\');
        strbuf_addc(b, *p == '\n' ? 'n' : *p);
        p++;
    }
    strbuf_addc(b, '"');
}

/* printf takes most of a scrape's time when there are fifty thousand whole numbers. */
static void add_whole(struct strbuf *b, double value)
{
    uint64_t rest = (uint64_t)fabs(value);
    char digits[24], *p = digits + sizeof(digits);

    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *--p = '-';
    strbuf_add(b, p, (size_t)(digits + sizeof(digits) - p));
}

static void add_number(struct strbuf *b, double value)
{
    /* Counts stay readable; what is not whole gets the digits that matter. */
    if (value == floor(value) && fabs(value) < 9007199254740992.0)
        add_whole(b, value);
    else
        strbuf_addf(b, "%.15g", value);
}

void metrics_render_labels(struct strbuf *b, const struct metric_label *labels)
{
    for (size_t i = 0; labels && labels[i].name; i++) {
        if (i)
            strbuf_addc(b, ',');
        add_label(b, &labels[i]);
    }
}

static void end_line(struct metrics_writer *w, double value)
{
    strbuf_addc(&w->text, ' ');
    add_number(&w->text, value);
    strbuf_addc(&w->text, '\n');
}

void metrics_add(struct metrics_writer *w, enum metric id, const struct metric_label *labels,
                 double value)
{
    bool labelled = labels && labels[0].name;

    begin(w, id);
    strbuf_adds(&w->text, metric_rows[id].name);
    if (labelled)
        strbuf_addc(&w->text, '{');
    metrics_render_labels(&w->text, labels);
    if (labelled)
        strbuf_addc(&w->text, '}');
    end_line(w, value);
}

void metrics_add_to(struct metrics_writer *w, enum metric id, struct metric_prefix prefix,
                    const struct metric_label *more, double value)
{
    begin(w, id);
    strbuf_adds(&w->text, metric_rows[id].name);
    strbuf_addc(&w->text, '{');
    strbuf_add(&w->text, prefix.text, prefix.len);
    if (more) {
        strbuf_addc(&w->text, ',');
        add_label(&w->text, more);
    }
    strbuf_addc(&w->text, '}');
    end_line(w, value);
}

static void add_series(struct metrics_writer *w, const char *name, const char *suffix,
                       const struct metric_label *labels, const char *le)
{
    bool first = true;

    strbuf_addf(&w->text, "%s%s", name, suffix);
    for (size_t i = 0; labels && labels[i].name; i++) {
        strbuf_addc(&w->text, first ? '{' : ',');
        add_label(&w->text, &labels[i]);
        first = false;
    }
    if (le)
        strbuf_addf(&w->text, "%sle=\"%s\"", first ? "{" : ",", le);
    strbuf_adds(&w->text, first && !le ? " " : "} ");
}

void metrics_add_histogram(struct metrics_writer *w, enum metric id,
                           const struct metric_label *labels, const struct metric_histogram *h)
{
    const char *name = metric_rows[id].name;
    char le[32];

    begin(w, id);
    for (size_t i = 0; i < h->buckets; i++) {
        snprintf(le, sizeof(le), "%g", h->bounds[i]);
        add_series(w, name, "_bucket", labels, le);
        strbuf_addf(&w->text, "%llu\n", h->cumulative[i]);
    }
    add_series(w, name, "_bucket", labels, "+Inf");
    strbuf_addf(&w->text, "%llu\n", h->count);
    add_series(w, name, "_sum", labels, NULL);
    add_number(&w->text, h->sum);
    strbuf_addc(&w->text, '\n');
    add_series(w, name, "_count", labels, NULL);
    strbuf_addf(&w->text, "%llu\n", h->count);
}
