/* Density: what the host would need without merging, what it uses, who gains, and what it costs. */
import { get } from '../lib/api.js';
import { groupTable, machineTable, needBars } from '../lib/density.js';
import { h, replace, setText } from '../lib/dom.js';
import { bytes, count, percent } from '../lib/format.js';
import { ksmForm } from '../lib/ksmform.js';
import { pastPanel } from '../lib/past.js';
import { costPanel } from '../lib/tuner.js';

const REFRESH_MS = 2000;
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
            refresh();
        },
    });
    let by = 'image';
    let density = null;
    let timer = null;

    function showKsm(ksm) {
        form && form.show(ksm);
        cost.show(ksm, density?.host);
        setText(saved, ksm.available ? bytes(density.host.saved_bytes) : 'KSM is not available');
        setText(
            line,
            ksm.available
                ? `${ksm.coarse ? 'or a little more ' : ''}of the machines’ memory saved: identical pages are kept once.`
                : 'This kernel has no /sys/kernel/mm/ksm.',
        );
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
                ...Object.entries(ksm.knobs ?? {}).map(([name, value]) => [name, count(value), name]),
                ['advisor_mode', ksm.advisor_mode ?? 'none', 'advisor_mode'],
                ['Page size', bytes(ksm.page_size_bytes)],
            ],
        );
    }

    function showDensity(answer) {
        density = answer;
        bars.show(answer.host);
        groups.offer(
            [...herd.vms.values()].flatMap((vm) => Object.keys(vm.labels ?? {})),
            by,
        );
        groups.show(answer.groups, { image: 'no image', set: 'no set' }[by] ?? 'without this label');
        machines.show(answer.vms);
    }

    async function read() {
        const [ksm, answer] = await Promise.all([
            get('/v1/ksm', { signal }),
            get(`/v1/ksm/density?by=${encodeURIComponent(by)}`, { signal }),
        ]);
        showDensity(answer);
        showKsm(ksm);
    }

    /* One reading at a time, in the rhythm of the slower of network and reader. */
    async function refresh() {
        clearTimeout(timer);
        if (document.visibilityState === 'visible') {
            await read().catch(() => {});
        }
        if (!signal.aborted) {
            clearTimeout(timer);
            timer = setTimeout(refresh, REFRESH_MS);
        }
    }

    await read();
    timer = setTimeout(refresh, REFRESH_MS);
    signal.addEventListener('abort', () => clearTimeout(timer));
    herd.figures.claim(signal); /* tells which figures are old */
    const past = pastPanel({
        title: 'Over time',
        path: '/v1/host/history',
        signal,
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
            h(
                'div',
                { class: 'columns' },
                h(
                    'section',
                    { class: 'panel hero' },
                    h('h2', null, 'What merging saves'),
                    h('p', null, saved),
                    line,
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
                h('section', { class: 'panel' }, h('h2', null, 'Counters'), counters),
                h('section', { class: 'panel' }, h('h2', null, 'Settings of the kernel'), knobs),
            ),
        ),
    };
}

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
