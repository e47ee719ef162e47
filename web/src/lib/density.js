/* What merging saves and for whom: the bars, the groups with what still fits, the machines. */
import { h, replace, s, setHidden, setText } from './dom.js';
import { ABSENT, bytes, count, plural } from './format.js';
import { scroll, sorting, titleRow } from './table.js';

const FIRST_ROWS = 100; /* a row costs layout; the rest comes when asked for */
const LIMIT_WORDS = { memory: 'memory is full', overcommit: 'the overcommit limit' };

/* Bars of one scale; the words beside them carry the meaning. */
export function needBars() {
    const bars = [
        ['promised', 'Promised to machines'],
        ['needed', 'Needed without merging'],
        ['used', 'In use'],
    ].map(([key, text]) => {
        const fill = s('rect', { class: `bar-fill bar-${key}`, height: 10, width: 0 });
        const value = h('span', { class: 'figure' });
        const root = h(
            'div',
            { class: 'bar' },
            h('span', { class: 'bar-name' }, text),
            s(
                'svg',
                { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
                s('rect', { class: 'bar-back', height: 10, width: 100 }),
                fill,
            ),
            value,
        );
        return { key, fill, value, root };
    });
    const total = h('p', { class: 'help' });
    const root = h(
        'div',
        { class: 'bars' },
        bars.map((b) => b.root),
        total,
    );

    function show(host) {
        const values = {
            promised: host.promised_bytes,
            needed: host.needed_without_ksm_bytes,
            used: host.used_bytes,
        };
        const top = Math.max(...Object.values(values), 1);
        for (const { key, fill, value } of bars) {
            fill.setAttribute('width', ((100 * values[key]) / top).toFixed(2));
            setText(value, bytes(values[key]));
        }
        const limit = host.overcommit_limit_bytes
            ? ` At most ${bytes(host.overcommit_limit_bytes)} may be promised.`
            : '';
        setText(
            total,
            host.total_bytes === undefined
                ? 'How much memory this host has is not known.'
                : `The host has ${bytes(host.total_bytes)}; ${bytes(host.available_bytes)} are available and ` +
                      `${bytes(host.reserve_bytes)} are kept for itself.${limit}`,
        );
    }
    return { root, show };
}

/* onBy(by): what the reader wants the groups to be. */
export function groupTable({ onBy }) {
    let offered = '';
    let waiting = null; /* labels that came while the reader had the list in hand */
    const select = h('select', {
        'aria-label': 'Group by',
        onchange: () => onBy(select.value),
        onblur: () => waiting && offer(waiting, select.value),
    });
    const body = h('tbody');
    const blank = h('p', { class: 'help' }, 'No machine is running.');
    const table = h(
        'table',
        null,
        titleRow([
            'Group',
            ['Running'],
            ['Resident'],
            ['Merged'],
            ['Saved'],
            ['Each takes, merged'],
            ['More would fit'],
        ]),
        body,
    );
    const shown = scroll('Merging by group', table);
    const root = h(
        'section',
        { class: 'panel' },
        h('div', { class: 'panel-head' }, h('h2', null, 'By group'), select),
        shown,
        blank,
    );

    /* Labels come and go with their machines; the one chosen stays. */
    function offer(labels, by) {
        const all = [
            ['image', 'Image'],
            ['set', 'Set'],
            ...[...new Set([...labels, by.replace(/^label\./, '')])]
                .filter((key) => key !== 'image' && key !== 'set')
                .sort()
                .map((key) => [`label.${key}`, `Label ${key}`]),
        ];
        const now = all.map(([value]) => value).join('\n');
        waiting = null;
        if (now === offered) {
            return;
        }
        if (document.activeElement === select) {
            waiting = labels;
            return;
        }
        offered = now;
        replace(
            select,
            all.map(([value, text]) => h('option', { value }, text)),
        );
        if (select.value !== by) {
            select.value = by;
        }
    }

    function show(groups, none) {
        replace(
            body,
            groups.map((g) =>
                h(
                    'tr',
                    null,
                    h('th', { scope: 'row' }, g.name ?? (g.key || none)),
                    [
                        `${count(g.running)} (${count(g.merging)} merging)`,
                        bytes(g.resident_bytes),
                        bytes(g.merging_bytes),
                        bytes(g.saved_bytes),
                        bytes(g.fits_more?.own_bytes_each),
                    ].map((t) => h('td', { class: 'number' }, t)),
                    h(
                        'td',
                        { class: 'fits number' },
                        g.fits_more
                            ? [
                                  h('strong', null, count(g.fits_more.count)),
                                  ` until ${LIMIT_WORDS[g.fits_more.limit] ?? g.fits_more.limit}`,
                              ]
                            : ABSENT,
                    ),
                ),
            ),
        );
        setHidden(shown, groups.length === 0);
        setHidden(blank, groups.length > 0);
    }
    return { root, show, offer };
}

export function machineTable(herd) {
    let all = false;
    let last = [];
    const body = h('tbody');
    const blank = h('p', { class: 'help' }, 'No machine is running.');
    const more = h('button', {
        type: 'button',
        class: 'button small',
        onclick: () => {
            all = true;
            show(last);
        },
    });
    const head = sorting(
        [
            ['Machine', (vm) => vm.name],
            ['Promised', (vm) => vm.promised_bytes, true],
            ['Resident', (vm) => vm.resident_bytes, true],
            ['Merged', (vm) => vm.ksm.merging_bytes, true],
            ['Saved', (vm) => vm.ksm.saved_bytes, true],
            ['Gain after costs', (vm) => vm.ksm.profit_bytes, true],
            ['How it stands'],
        ],
        4,
        () => show(last),
    );
    const table = h(
        'table',
        null,
        head.root,
        body,
    );
    const shown = scroll('Merging by machine', table);
    const root = h('section', { class: 'panel' }, h('h2', null, 'By machine'), shown, more, blank);

    function show(vms) {
        last = head.order([...vms].sort((a, b) => (a.name < b.name ? -1 : 1)));
        const rows = all ? last : last.slice(0, FIRST_ROWS);
        replace(
            body,
            rows.map((vm) =>
                h(
                    'tr',
                    { 'data-cause': vm.ksm.cause },
                    h(
                        'th',
                        { scope: 'row' },
                        h('a', { href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name),
                    ),
                    [
                        bytes(vm.promised_bytes),
                        bytes(vm.resident_bytes),
                        bytes(vm.ksm.merging_bytes),
                        bytes(vm.ksm.saved_bytes),
                        bytes(vm.ksm.profit_bytes),
                    ].map((t) => h('td', { class: 'number' }, t)),
                    h('td', { class: 'why' }, stands(vm.ksm), staleMark(herd.figures.of(vm.vm_id))),
                ),
            ),
        );
        setHidden(more, rows.length === last.length);
        setText(more, `Show all ${plural(last.length, 'machine')}`);
        setHidden(shown, last.length === 0);
        setHidden(blank, last.length > 0);
    }
    return { root, show };
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

/* Figures that nobody could read anew are said to be old, wherever they are shown. */
export function staleMark(sample) {
    return (
        sample?.stale &&
        h(
            'span',
            { class: 'tag stale', 'data-state': 'warning', title: sample.stale_reason },
            'old figures',
        )
    );
}
