/* Density: what the host would need without merging, what it uses, who gains, and what it costs. */
import { get } from '../lib/api.js';
import { groupTable, machineTable, needBars } from '../lib/density.js';
import { h, replace, setText } from '../lib/dom.js';
import { bytes, clock, count, percent } from '../lib/format.js';
import { ksmForm } from '../lib/ksmform.js';
import { pastPanel } from '../lib/past.js';
import { reloader, soon } from '../lib/reload.js';
import { costPanel } from '../lib/tuner.js';

const AGAIN_MS = 2000; /* between two readings of what is not streamed */
const OFFER_MS = 100; /* a burst of machines is one offer */
const MOVED = 0.02; /* by so much of itself, so that the groups are reckoned anew */
const MOVED_BYTES = 4 * 1024 * 1024;
const WORDS = {
    pages_shared: 'Shared pages kept',
    pages_sharing: 'Places that share them',
    pages_unshared: 'Unique pages',
    pages_volatile: 'Pages that change too fast',
    pages_scanned: 'Pages scanned',
    pages_skipped: 'Pages skipped',
    full_scans: 'Full scans',
    ksm_zero_pages: 'Empty pages merged',
    general_profit: 'Bytes gained after costs',
    stable_node_chains: 'Pages at the sharing limit',
    stable_node_dups: 'Duplicates of such pages',
};
const KNOBS = {
    run: 'Runs (0: no, 1: yes, 2: unmerges)',
    pages_to_scan: 'Pages scanned at a time',
    sleep_millisecs: 'Pause between, in ms',
    merge_across_nodes: 'Merges across NUMA nodes',
    max_page_sharing: 'Most places that share a page',
    use_zero_pages: 'Gives empty pages no memory',
    smart_scan: 'Skips pages that did not merge',
    stable_node_chains_prune_millisecs: 'Tidies up every, in ms',
    advisor_max_cpu: 'Advisor: most of a CPU, in %',
    advisor_min_pages_to_scan: 'Advisor: fewest pages at a time',
    advisor_max_pages_to_scan: 'Advisor: most pages at a time',
    advisor_target_scan_time: 'Advisor: a full scan in, seconds',
};

export async function memoryPage({ herd, session, signal }) {
    const saved = h('strong', { class: 'big' });
    const line = h('p', { class: 'help' });
    const bars = needBars();
    const cost = costPanel();
    const counters = h('dl', { class: 'facts' });
    const knobs = h('dl', { class: 'facts' });
    const form = session.can('host:write') && ksmForm({ onChange: (now) => showKsm(now) });
    const machines = machineTable(herd);
    const groups = groupTable({
        onBy(chosen) {
            by = chosen;
            load();
        },
    });
    const trouble = h('div', { role: 'alert' });
    const asOf = h('p', { class: 'help' });
    const again = h(
        'button',
        { type: 'button', class: 'button small', onclick: () => load() },
        'Read again',
    );
    let by = 'image';
    let density = null;
    let ksmNow = null;
    let read = null; /* what the stream said when the rest was read */

    function showKsm(ksm) {
        ksmNow = ksm;
        form && form.show(ksm);
        cost.show(ksm, density?.host);
        setText(
            line,
            ksm.available
                ? `${ksm.coarse ? 'or a little more ' : ''}of the machines’ memory saved: identical pages are kept once.`
                : 'This kernel has no /sys/kernel/mm/ksm.',
        );
        setText(asOf, `As they were at ${clock(density.sampled_at)}.`);
        rows(
            counters,
            Object.entries(ksm.counters ?? {}).map(([name, value]) => [
                WORDS[name] ?? name,
                name === 'general_profit' ? bytes(value) : count(value),
                name,
            ]),
        );
        rows(
            knobs,
            [
                ...Object.entries(ksm.knobs ?? {}).map(([name, value]) => [
                    KNOBS[name] ?? name.replaceAll('_', ' '),
                    count(value),
                    name,
                ]),
                ['Advisor', ksm.advisor_mode ?? 'none', 'advisor_mode'],
                ['Page size', bytes(ksm.page_size_bytes)],
            ],
        );
    }

    function offer() {
        groups.offer(
            [...herd.vms.values()].flatMap((vm) => Object.keys(vm.labels ?? {})),
            by,
        );
    }

    function showDensity(answer) {
        density = answer;
        offer();
        groups.show(answer.groups, { image: 'no image', set: 'no set' }[by] ?? 'without this label');
    }

    const load = reloader(
        async () => {
            const [ksm, answer] = await Promise.all([
                get('/v1/ksm', { signal }),
                get(`/v1/ksm/density?by=${encodeURIComponent(by)}`, { signal }),
            ]);
            read = streamed();
            showDensity(answer);
            showKsm(ksm);
            showStreamed();
        },
        { trouble, signal },
    );

    /* What the stream of figures says of all machines together; null: nothing yet. */
    function streamed() {
        const { host, at } = herd.figures;
        const all = herd.figures.all();
        return (
            host && {
                at,
                saved: host.ksm_saved_bytes ?? 0,
                promised: sum(all, (f) => f.memory.promised_bytes),
                resident: sum(all, (f) => f.memory.resident_bytes),
                machines: all.map((f) => `${f.vm_id} ${f.ksm.cause}`).sort().join(),
            }
        );
    }

    /* Headline, bars, the machines' figures: from the newest tick, or as they were read. */
    function showStreamed() {
        const now = streamed();
        const newer = now && now.at > Date.parse(density.sampled_at);
        const host = { ...density.host };
        if (newer) {
            /* What is saved by empty pages is in nobody's resident memory. */
            const empty = Math.max(0, (ksmNow.saved_bytes ?? 0) - (host.resident_bytes - host.used_bytes));
            const shared = Math.max(0, now.saved - empty);
            host.promised_bytes = now.promised;
            host.used_bytes = now.resident - (shared < now.resident ? shared : 0);
            host.needed_without_ksm_bytes = host.used_bytes + now.saved;
            host.available_bytes = herd.figures.host.available_bytes ?? host.available_bytes;
            host.ksmd_cpu_percent = herd.figures.host.ksmd_cpu_percent;
        }
        const savedBytes = newer ? now.saved : ksmNow.saved_bytes;
        setText(saved, ksmNow.available ? bytes(savedBytes) : 'KSM is not available');
        bars.show(host);
        cost.show(ksmNow, host);
        machines.show(newer ? density.vms.map(withNewest) : density.vms);
    }

    function withNewest(vm) {
        const sample = herd.figures.of(vm.vm_id);
        return sample
            ? {
                  ...vm,
                  resident_bytes: sample.memory.resident_bytes ?? vm.resident_bytes,
                  ksm: { ...vm.ksm, ...known(sample.ksm, ['merging_bytes', 'saved_bytes']) },
              }
            : vm;
    }

    /* The groups, what still fits and the kernel's counters are reckoned anew when what they are made of moved. */
    const loadSoon = soon(load, AGAIN_MS, signal);
    herd.on(
        'figures',
        () => {
            if (!density) {
                return;
            }
            showStreamed();
            const now = streamed();
            read ??= now;
            if (
                now.machines !== read.machines ||
                moved(now.saved, read.saved) ||
                moved(now.resident, read.resident)
            ) {
                loadSoon();
            }
        },
        signal,
    );
    herd.follows((event) => event.type.startsWith('ksm.'), loadSoon, signal);
    /* The machines, whose labels are offered, may come later than the density. */
    const offerSoon = soon(offer, OFFER_MS, signal);
    herd.on('list', offerSoon, signal);
    herd.on('vm', offerSoon, signal);

    await load();
    herd.figures.claim(signal);
    const past = pastPanel({
        title: 'Over time',
        path: '/v1/host/history',
        herd,
        signal,
        sample() {
            const now = streamed();
            const { available_bytes: available, ksmd_cpu_percent: ksmd } = herd.figures.host ?? {};
            return (
                now && {
                    /* of the whole host only when no other project has machines that run */
                    ...(herd.figures.host.running === herd.figures.all().length && {
                        resident_bytes: now.resident,
                    }),
                    ksm_saved_bytes: now.saved,
                    available_bytes: available,
                    ksmd_cpu_percent: ksmd,
                }
            );
        },
        plots: [
            {
                title: 'Memory',
                format: bytes,
                inBytes: true,
                curves: [
                    { name: 'resident', figure: 'resident_bytes' },
                    { name: 'saved', figure: 'ksm_saved_bytes' },
                    { name: 'available', figure: 'available_bytes' },
                ],
            },
            {
                title: 'ksmd, of one CPU',
                format: percent,
                curves: [{ name: 'ksmd', figure: 'ksmd_cpu_percent' }],
            },
        ],
    });
    return {
        title: 'Memory',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Memory')),
            trouble,
            h(
                'div',
                { class: 'columns' },
                h(
                    'section',
                    { class: 'panel hero' },
                    h('h2', null, 'What merging saves'),
                    h('p', null, saved),
                    line,
                    ksmTerms(),
                    bars.root,
                ),
                cost.root,
            ),
            groups.root,
            machines.root,
            past,
            form && form.root,
            h(
                'div',
                { class: 'columns' },
                h(
                    'section',
                    { class: 'panel' },
                    h('div', { class: 'panel-head' }, h('h2', null, 'Counters'), again),
                    asOf,
                    counters,
                ),
                h('section', { class: 'panel' }, h('h2', null, 'Settings of the kernel'), knobs),
            ),
        ),
    };
}

/* The two words that every table of this page uses. */
const ksmTerms = () =>
    h(
        'p',
        { class: 'help terms' },
        h('strong', null, 'Merged'),
        ' is memory of which an identical page is kept only once, for all that have it. ',
        h('strong', null, 'Saved'),
        ' is what that spares: merged memory less the pages that are kept.',
    );

const sum = (items, of) => items.reduce((total, item) => total + (of(item) ?? 0), 0);
const moved = (now, then) => Math.abs(now - then) > Math.max(MOVED_BYTES, MOVED * then);
const known = (object, names) =>
    Object.fromEntries(names.filter((n) => n in object && object[n] !== undefined).map((n) => [n, object[n]]));

/* [name, value, kernel's name]: texts are replaced in place. */
function rows(list, facts) {
    if (list.children.length !== facts.length) {
        replace(
            list,
            facts.map(() => h('div', null, h('dt'), h('dd'))),
        );
    }
    facts.forEach(([name, value, kernel], index) => {
        const [term, text] = list.children[index].children;
        setText(term, name);
        setText(text, value);
        if (kernel) {
            term.title = kernel;
        }
    });
}
