/*
 * What history costs for many VMs: `history_bench DIR [VMS]` feeds the real thing and prints, as JSON,
 * the bytes a VM takes after a month (a few VMs, a month that ends now, one sample a second) and the
 * CPU time of an hour of all of them.
 *
 * Half of the VMs idle, a third does a little, a sixth is restless in every figure.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "service/base/clock.h"
#include "service/base/str.h"
#include "service/vm/history.h"
#include "service/vm/sampler.h"

#define HOUR 3600
#define DAY  86400
#define SAMPLE 12 /* VMs that live a month */

struct guest {
    struct vm_dear dear;
    double cpu, resident, merged;
};

static uint64_t seed = 88172645463325252ULL;

static double chance(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* 0 idles, 1 does a little, 2 never rests. */
static const int kinds[6] = {0, 1, 0, 2, 0, 1};

static void live(struct vm_sample *s, struct guest *g, int kind)
{
    double restless = kind == 2 ? 1 : kind == 1 && chance() < 0.05 ? 0.3 : 0;

    s->has_cpu_percent = true;
    s->cpu_percent = restless > 0 ? 100 * restless * chance() : chance() < 0.1 ? 0.1 : 0;
    g->resident += restless * (chance() - 0.5) * (4 << 20);
    if (g->resident < 60 << 20)
        g->resident = 60 << 20;
    s->has_process = s->process.has_memory = s->process.has_ksm_merging_pages = true;
    s->process.resident_bytes = (uint64_t)g->resident & ~4095ULL;
    g->merged += restless * (chance() - 0.5) * 500;
    if (g->merged < 1000)
        g->merged = 1000;
    s->process.ksm_merging_pages = (int64_t)g->merged;
    s->has_ksm_saved = true;
    s->ksm_saved_bytes = (uint64_t)g->merged * 4000;
    s->has_io_rate = true;
    s->io_read_rate = restless > 0 && chance() < 0.3 ? chance() * 5e6 : 0;
    s->io_write_rate = restless > 0 && chance() < 0.5 ? chance() * 2e6 : 0;
    g->dear.has_network_rate = true;
    g->dear.receive_rate = restless > 0 ? chance() * 1e6 : chance() < 0.02 ? 120 : 0;
    g->dear.transmit_rate = restless > 0 ? chance() * 1e6 : 0;
}

static double thread_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* As the sampler does it; returns the CPU time of making the figures up, which is not history's. */
static double step(struct history *h, struct snapshot *now, struct snapshot *before,
                   struct guest *guests, int64_t at)
{
    double began = thread_seconds(), lived;

    before->sampled_at = now->sampled_at;
    now->sampled_at = at * 1000;
    for (size_t i = 0; i < now->count; i++)
        live(&now->samples[i], &guests[i], kinds[i % 6]);
    lived = thread_seconds() - began;
    history_feed(h, now, before);
    return lived;
}

static void drain(struct history *h, struct history_stats *ret)
{
    for (history_stats_read(h, ret); ret->queued; history_stats_read(h, ret))
        (void)poll(NULL, 0, 1);
}

struct herd {
    struct guest *guests;
    struct snapshot now, before;
};

static void herd_init(struct herd *herd, size_t count)
{
    *herd = (struct herd){.guests = xcalloc(count, sizeof(*herd->guests)), .now = {.count = count}};
    herd->now.ksm.page_size_bytes = 4096;
    herd->now.samples = xcalloc(count, sizeof(*herd->now.samples));
    for (size_t i = 0; i < count; i++) {
        snprintf(herd->now.samples[i].vm_id, UUID_TEXT, "%08x-0000-4000-8000-000000000000",
                 (unsigned)i);
        herd->now.samples[i].dear = &herd->guests[i].dear;
        herd->guests[i].resident = (double)((uint64_t)(100 + i % 400) << 20);
        herd->guests[i].merged = 2000 + (double)i;
    }
}

static void herd_done(struct herd *herd)
{
    free(herd->now.samples);
    free(herd->guests);
}

static struct history *begin(const char *path)
{
    struct history *h;
    struct error err;

    if (history_start(NULL, path, &h, &err)) {
        fprintf(stderr, "%s: %s\n", path, err.detail);
        exit(1);
    }
    return h;
}

/* All of it written and the journal folded in: it was the only connection. */
static uint64_t file_bytes(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : (uint64_t)st.st_size;
}

/* Begins anew often: once in a while history asks the daemon which VMs there are, and here is none. */
static uint64_t month_bytes(const char *path, size_t count)
{
    int64_t end = clock_wall_ms() / 1000, until = clock_monotonic_ms() + 30000;
    struct history *h = begin(path);
    struct history_stats stats;
    struct herd herd;

    herd_init(&herd, count);
    for (int64_t at = end - 31 * DAY; at < end; at++) {
        step(h, &herd.now, &herd.before, herd.guests, at);
        if (at % HOUR)
            continue;
        drain(h, &stats);
        if (clock_monotonic_ms() > until) {
            history_stop(h);
            h = begin(path);
            until = clock_monotonic_ms() + 30000;
        }
    }
    history_stop(h);
    herd_done(&herd);
    return file_bytes(path);
}

/* All CPU time of this process, less what making the figures up took. */
static double hour_seconds(const char *path, size_t count, uint64_t *ret_dropped)
{
    int64_t end = clock_wall_ms() / 1000;
    double began = cpu_seconds(), lived = 0;
    struct history *h = begin(path);
    struct history_stats stats;
    struct herd herd;

    herd_init(&herd, count);
    for (int64_t at = end - HOUR; at < end; at++) {
        lived += step(h, &herd.now, &herd.before, herd.guests, at);
        if (at % 60 == 0)
            drain(h, &stats);
    }
    drain(h, &stats);
    *ret_dropped = stats.dropped;
    began = cpu_seconds() - began - lived;
    history_stop(h);
    herd_done(&herd);
    return began;
}

int main(int argc, char **argv)
{
    size_t count = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 1000;
    const char *dir = argc > 1 ? argv[1] : ".";
    auto_free char *month = xasprintf("%s/month.db", dir), *hour = xasprintf("%s/hour.db", dir);
    uint64_t bytes = month_bytes(month, SAMPLE), dropped;
    double seconds = hour_seconds(hour, count, &dropped);

    printf("{\"vms\": %zu, \"month_bytes_each\": %llu, \"hour_cpu_seconds\": %.3f, "
           "\"dropped\": %llu}\n",
           count, (unsigned long long)bytes / SAMPLE, seconds, (unsigned long long)dropped);
    return 0;
}
