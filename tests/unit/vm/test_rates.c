/* Rates between samples: what goes back, is reused or takes no time gives none. */
#include "service/vm/guest.h"
#include "service/vm/sampler_internal.h"
#include "tests/support/test.h"

static struct vm_sample at(int64_t ms, double cpu, uint64_t bytes)
{
    return (struct vm_sample){.has_process = true,
                              .pid = 4711,
                              .process_sampled_at = ms,
                              .process = {.start_ticks = 77,
                                          .has_cpu = true,
                                          .cpu_user_seconds = cpu,
                                          .has_io = true,
                                          .read_bytes = bytes,
                                          .write_bytes = bytes / 2}};
}

TEST(a_process_has_rates_between_two_samples)
{
    struct vm_sample a = at(1000, 1, 1000), b = at(3000, 2, 5000);

    sample_rates(&b, &a);
    CHECK(b.has_cpu_percent && b.cpu_percent == 50);
    CHECK(b.has_io_rate && b.io_read_rate == 2000 && b.io_write_rate == 1000);
}

TEST(a_counter_that_goes_back_gives_no_rate)
{
    struct vm_sample a = at(1000, 2, 5000), b = at(2000, 1, 1000), c = at(3000, 3, 900);

    sample_rates(&b, &a);
    CHECK(!b.has_cpu_percent && !b.has_io_rate);
    sample_rates(&c, &b); /* one of them is no reason to give up the other */
    CHECK(c.has_cpu_percent && c.cpu_percent == 200 && !c.has_io_rate);
}

TEST(a_counter_that_wraps_gives_no_rate)
{
    struct vm_sample a = at(1000, 1, UINT64_MAX - 5), b = at(2000, 1, 10);

    sample_rates(&b, &a);
    CHECK(b.has_cpu_percent && b.cpu_percent == 0 && !b.has_io_rate);
}

TEST(another_process_gives_no_rate)
{
    struct vm_sample a = at(1000, 1, 0), other = at(2000, 2, 100), reused = at(2000, 2, 100),
                     gone = at(1000, 1, 0);

    other.pid = 4712;
    sample_rates(&other, &a);
    CHECK(!other.has_cpu_percent && !other.has_io_rate);
    reused.process.start_ticks = 78; /* the same pid, somebody else's now */
    sample_rates(&reused, &a);
    CHECK(!reused.has_cpu_percent && !reused.has_io_rate);
    gone.has_process = false;
    sample_rates(&a, &gone);
    CHECK(!a.has_cpu_percent && !a.has_io_rate);
}

TEST(no_time_and_time_that_goes_back_give_no_rate)
{
    struct vm_sample a = at(2000, 1, 0), same = at(2000, 2, 100), earlier = at(1000, 2, 100);

    sample_rates(&same, &a);
    sample_rates(&earlier, &a);
    CHECK(!same.has_cpu_percent && !earlier.has_cpu_percent && !earlier.has_io_rate);
}

static struct vm_dear *dear(int64_t ms, uint64_t bytes)
{
    static struct vm_dear kept[3]; /* large */
    static int turn;
    struct vm_dear *d = &kept[turn++ % 3];

    *d = (struct vm_dear){.virt_sampled_at = ms};
    d->virt.has_cpu = true;
    d->virt.cpu_ns = bytes;
    d->virt.block_count = d->virt.net_count = 1;
    d->virt.blocks[0].has_requests = d->virt.nets[0].has_counters = true;
    d->virt.blocks[0].read_bytes = d->virt.blocks[0].write_bytes = bytes;
    d->virt.nets[0].receive_bytes = d->virt.nets[0].transmit_bytes = bytes;
    return d;
}

TEST(dear_figures_the_same)
{
    struct vm_dear *a = dear(1000, 1000), *b = dear(3000, 9000), *c = dear(4000, 10);

    dear_rates(b, a);
    CHECK(b->has_block_rate && b->read_rate == 4000 && b->has_network_rate && b->transmit_rate == 4000);
    CHECK(b->has_cpu_percent);
    dear_rates(c, b); /* it went back */
    CHECK(!c->has_block_rate && !c->has_network_rate && !c->has_cpu_percent);
    a->virt_sampled_at = 0;
    c = dear(5000, 20000);
    dear_rates(c, b);
    CHECK(c->has_block_rate);
    c->has_block_rate = c->has_cpu_percent = c->has_network_rate = false;
    b->virt_sampled_at = 0; /* that was none: c is the first */
    dear_rates(c, b);
    CHECK(!c->has_cpu_percent && !c->has_block_rate && !c->has_network_rate);
    b->virt_sampled_at = 4000;
    c->virt.nets[0].has_counters = false; /* user-mode networks have none */
    dear_rates(c, b);
    CHECK(c->has_block_rate && !c->has_network_rate);
}

TEST(ksmd_is_not_believed_when_it_goes_back)
{
    static struct snapshot a = {.sampled_at = 1000}, b = {.sampled_at = 2000};

    a.ksm.has_ksmd_cpu = b.ksm.has_ksmd_cpu = true;
    a.ksm.ksmd_cpu_seconds = 5;
    b.ksm.ksmd_cpu_seconds = 5.5;
    snapshot_rates(&b, &a);
    CHECK(b.has_ksmd_percent && b.ksmd_percent == 50);
    b.has_ksmd_percent = false;
    b.ksm.ksmd_cpu_seconds = 4;
    snapshot_rates(&b, &a);
    CHECK(!b.has_ksmd_percent);
    b.ksm.has_ksmd_cpu = false;
    snapshot_rates(&b, &a);
    CHECK(!b.has_ksmd_percent);
}

TEST(what_a_guest_calls_its_load_is_looked_at)
{
    static const char *const bad[] = {"", "1", "1 2", "1 2 3", "nan 1 1 ", "-1 1 1 ", "1e9 1 1 ", "inf 0 0 ",
                                      " 1 2 3 ", "0x1p3000 1 1 ", "1,5 1 1 "};
    double load[3];

    CHECK(guest_load_parse("0.52 0.58 12.5 1/123 4567", load));
    CHECK(load[0] == 0.52 && load[1] == 0.58 && load[2] == 12.5);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        CHECK(!guest_load_parse(bad[i], load));
}

TEST_MAIN();
