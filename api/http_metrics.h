/*
 * What the transport has counted, for /metrics. Any thread; the figures of one read are close
 * together, not one instant.
 */
#ifndef DROVER_API_HTTP_METRICS_H
#define DROVER_API_HTTP_METRICS_H

#include <stddef.h>

#include "api/request.h"
#include "api/ws.h"

#define HTTP_LATENCY_BUCKETS 12
/* Upper bounds in seconds; what is slower counts only in latency_count. */
extern const double http_latency_bounds[HTTP_LATENCY_BUCKETS];

struct http_metrics {
    unsigned long long latency_count; /* requests answered */
    unsigned long long auth_failures;        /* bad credentials, not absent ones */
    unsigned long long malformed_requests;   /* refused by the header gate */
    unsigned long long timed_out;            /* connections cut at a deadline */
    unsigned long long refused_connections;  /* over a connection limit */
    unsigned long long accepted_connections; /* since start */
    unsigned long long connections;          /* now, WebSockets included */
    unsigned long long requests_in_flight;   /* now, parked ones included */
    unsigned long long requests_parked;      /* now */
    unsigned long long event_streams;        /* now */
    struct ws_stats websockets;
};
void http_metrics_read(const struct request *req, struct http_metrics *ret);

/* Answers by status class: by_class[1] counts 1xx (WebSockets opened), [5] counts 5xx. */
struct http_route_metrics {
    const struct route *route; /* NULL: no route matched */
    unsigned long long by_class[6];
    unsigned long long latency[HTTP_LATENCY_BUCKETS]; /* cumulative, as Prometheus has it */
    unsigned long long latency_count;
    double latency_sum_seconds;
};
/* i from 0 while it returns true. */
bool http_metrics_route(const struct request *req, size_t i, struct http_route_metrics *ret);

#endif
