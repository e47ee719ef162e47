/* KSM: what the kernel merges, what it costs, and which VM gains how much. */
import { get } from '../lib/api.js';
import { h, replace, setHidden, setText } from '../lib/dom.js';
import { bytes, count, seconds } from '../lib/format.js';
import { ksmForm } from '../lib/ksmform.js';

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
const TUNER_WORDS = { off: 'nobody', static: 'what was set here', auto: 'Drover' };
const RUN_WORDS = { 0: 'stopped', 1: 'running', 2: 'stopped, all pages unmerged' };

export async function memoryPage({ herd, session, signal }) {
    const saved = h('strong', { class: 'big' });
    const line = h('p', { class: 'help' });
    const sums = h('dl', { class: 'sums' });
    const counters = h('dl', { class: 'facts' });
    const knobs = h('dl', { class: 'facts' });
    const body = h('tbody');
    const blank = h('p', { class: 'help' }, 'No machine is running.');
    const table = h(
        'table',
        null,
        h(
            'thead',
            null,
            h(
                'tr',
                null,
                [
                    'Machine',
                    'Resident',
                    'Merged',
                    'Saved',
                    'Gain after costs',
                    'Empty pages',
                    'How it stands',
                ].map((t) => h('th', { scope: 'col' }, t)),
            ),
        ),
        body,
    );

    const form = session.can('host:write') && ksmForm({ onChange: (now) => show(now) });

    function show(ksm) {
        form && form.show(ksm);
        setText(saved, ksm.available ? bytes(ksm.saved_bytes) : 'KSM is not available');
        setText(
            line,
            ksm.available
                ? `${ksm.coarse ? 'or a little more ' : ''}of memory saved: identical pages of different machines are kept once.`
                : 'This kernel has no /sys/kernel/mm/ksm.',
        );
        const knob = ksm.knobs ?? {};
        const facts = [
            ['ksmd', RUN_WORDS[knob.run] ?? 'unknown'],
            ['Its CPU time', seconds(ksm.ksmd_cpu_seconds)],
            ['Page size', bytes(ksm.page_size_bytes)],
            ['Advisor', ksm.advisor_mode ?? 'none'],
            ...(ksm.tuner ? [['Turned by', TUNER_WORDS[ksm.tuner.mode] ?? ksm.tuner.mode]] : []),
            ...(ksm.ksmd_cpu_seconds_per_saved_mib !== undefined
                ? [['CPU time per MiB saved', seconds(ksm.ksmd_cpu_seconds_per_saved_mib)]]
                : []),
        ];
        rows(sums, facts);
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
            Object.entries(knob).map(([name, value]) => [name, count(value), name]),
        );
    }

    function showVms() {
        const on = [...herd.vms.values()]
            .filter((vm) => herd.figures.of(vm.id))
            .sort((a, b) => (a.name < b.name ? -1 : 1));
        replace(
            body,
            on.map((vm) => {
                const { ksm = {}, memory = {} } = herd.figures.of(vm.id);
                return h(
                    'tr',
                    null,
                    h(
                        'th',
                        { scope: 'row' },
                        h('a', { href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name),
                    ),
                    [
                        bytes(memory.resident_bytes),
                        bytes(ksm.merging_bytes),
                        bytes(ksm.saved_bytes),
                        bytes(ksm.profit_bytes),
                        count(ksm.zero_pages),
                    ].map((t) => h('td', null, t)),
                    h('td', { class: 'why' }, stands(ksm)),
                );
            }),
        );
        setHidden(table, on.length === 0);
        setHidden(blank, on.length > 0);
    }

    show(await get('/v1/ksm', { signal }));
    const timer = setInterval(
        () =>
            document.visibilityState === 'visible' &&
            get('/v1/ksm', { signal }).then(show, () => {}),
        REFRESH_MS,
    );
    signal.addEventListener('abort', () => clearInterval(timer));
    herd.on('figures', showVms, signal);
    herd.on('list', showVms, signal);
    herd.figures.claim(signal);
    showVms();
    return {
        title: 'Memory',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Memory')),
            h(
                'section',
                { class: 'panel hero' },
                h('h2', null, 'Kernel samepage merging'),
                h('p', null, saved),
                line,
                sums,
            ),
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'By machine'),
                h(
                    'div',
                    {
                        class: 'scroll',
                        tabindex: '0',
                        role: 'region',
                        'aria-label': 'Merging by machine',
                    },
                    table,
                ),
                blank,
            ),
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

/* In words, and why when nothing merges. */
function stands(ksm) {
    if (ksm.reason) {
        return ksm.reason;
    }
    if (ksm.cause === 'merging') {
        return 'merging';
    }
    return { true: 'takes part', false: 'does not take part' }[ksm.mergeable] ?? 'unknown';
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
