/*
 * Writes the Prometheus text format from the table in metrics.def: samples are grouped by metric,
 * each group begins with its help and type, and a metric without samples leaves no trace.
 */
#ifndef DROVER_API_METRICS_WRITER_H
#define DROVER_API_METRICS_WRITER_H

#include <stddef.h>

#include "service/base/str.h"

enum metric {
#define M(symbol, name, kind, unit, labels, help) METRIC_##symbol,
#include "api/handlers/metrics.def"
#undef M
    METRIC_COUNT,
    METRIC_VM_KSM_LAST = METRIC_VM_KSM_SAVED,
};

enum metric_kind { METRIC_KIND_GAUGE, METRIC_KIND_COUNTER, METRIC_KIND_HISTOGRAM };

struct metric_row {
    const char *name;
    enum metric_kind kind;
    const char *unit, *labels, *help; /* labels: names separated by spaces */
};
extern const struct metric_row metric_rows[METRIC_COUNT];
const char *metric_kind_name(enum metric_kind kind);

struct metrics_writer {
    struct strbuf text;
    int current; /* the metric whose group is open */
};
#define METRICS_WRITER_INIT                                                                        \
    {                                                                                              \
        .current = -1                                                                              \
    }

#define METRIC_LABELS_MAX 8
struct metric_label {
    const char *name, *value;
};

/* labels end with a NULL name and may be NULL; any value, escaped here. */
void metrics_add(struct metrics_writer *w, enum metric id, const struct metric_label *labels,
                 double value);

/*
 * The same with labels that are rendered already, which is what a thousand VMs times fifty figures
 * cost most of. more is one label that is not, or NULL.
 */
void metrics_render_labels(struct strbuf *b, const struct metric_label *labels);
struct metric_prefix {
    const char *text; /* of metrics_render_labels */
    size_t len;
};
void metrics_add_to(struct metrics_writer *w, enum metric id, struct metric_prefix prefix,
                    const struct metric_label *more, double value);

struct metric_histogram {
    const double *bounds;
    const unsigned long long *cumulative; /* as many */
    size_t buckets;
    unsigned long long count;
    double sum;
};
/* labels as above. */
void metrics_add_histogram(struct metrics_writer *w, enum metric id,
                           const struct metric_label *labels, const struct metric_histogram *h);

#endif
