/*
 * Reading the counters.
 */
#include "api/http_metrics.h"

#include "api/front.h"
#include "api/http_internal.h"

static unsigned long long get(_Atomic unsigned long long *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

void http_metrics_read(const struct request *req, struct http_metrics *ret)
{
    struct http *h = exchange_of(req)->http;
    struct counters *c = &h->count;
    const struct front_counts *front = front_counts(h->front);

    *ret = (struct http_metrics){.auth_failures = get(&c->auth_failures),
                                 .malformed_requests = get(&c->malformed),
                                 .timed_out = get(&c->timed_out) + front->timed_out,
                                 .refused_connections = get(&c->refused) + front->refused,
                                 .accepted_connections = get(&c->accepted) + front->accepted,
                                 .connections = get(&c->connections) + front->connections,
                                 .requests_in_flight = get(&c->in_flight),
                                 .requests_parked = get(&c->parked),
                                 .event_streams = get(&c->streams)};
    for (size_t i = 0; i <= c->route_count; i++) {
        for (size_t k = 0; k <= HTTP_LATENCY_BUCKETS; k++)
            ret->latency_count += get(&c->latency[i].bucket[k]);
    }
    if (!atomic_load(&h->quiescing)) /* afterwards the WebSocket side may be gone */
        ws_stats_read(h->ws, &ret->websockets);
    ret->websockets.connections += front->sockets;
    ret->websockets.bytes_in += front->socket_bytes_in;
    ret->websockets.bytes_out += front->socket_bytes_out;
}

bool http_metrics_route(const struct request *req, size_t i, struct http_route_metrics *ret)
{
    struct counters *c = &exchange_of(req)->http->count;

    if (i > c->route_count)
        return false;
    ret->route = i < c->route_count ? &routes[i] : NULL;
    for (int class = 0; class < 6; class ++)
        ret->by_class[class] = get(&c->routes[i][class]);
    ret->latency_count = 0;
    for (size_t k = 0; k < HTTP_LATENCY_BUCKETS; k++) {
        ret->latency_count += get(&c->latency[i].bucket[k]);
        ret->latency[k] = ret->latency_count;
    }
    ret->latency_count += get(&c->latency[i].bucket[HTTP_LATENCY_BUCKETS]);
    ret->latency_sum_seconds = (double)get(&c->latency[i].ns) / 1e9;
    return true;
}
