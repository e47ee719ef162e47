/* The overview: sums, a filter, an order, and one row per VM, updated in place so that focus stays put. */
import { get } from '../lib/api.js';
import { bulkBar } from '../lib/bulk.js';
import { glance } from '../lib/glance.js';
import { h, icon, replace, setHidden, setText } from '../lib/dom.js';
import { announce } from '../lib/notify.js';
import { herdTrouble } from '../lib/reload.js';
import { bytes, percent, plural } from '../lib/format.js';
import {
    SORTS,
    countOf,
    labelsOf,
    matcher,
    readFilter,
    sorter,
    writeFilter,
} from '../lib/vmfilter.js';
import { Row } from '../lib/vmrow.js';

const FULL_AT_FIRST = 40;
const NEAR_PX = 1200; /* how far off the screen a row is made whole */
const SOON_MS = 30;
const RESORT_MS = 5000; /* rows that jump at every sample cannot be pressed */

export function listPage({ herd, session, signal }) {
    const mayCreate = session.can('vm:write');
    const rows = new Map();
    const picked = new Set();
    const filter = readFilter(location.hash.split('?')[1]);
    let lastPicked = null;
    let order = []; /* what is shown, as last arranged */
    let sortedAt = 0;
    const list = h('ul', { class: 'herd', 'aria-label': 'Virtual machines' });
    const sums = h('dl', { class: 'sums' });
    const { root: atAGlance, start } = glance({ herd, session, signal });
    const trouble = herdTrouble(herd, signal);
    const text = h('input', {
        type: 'search',
        id: 'filter',
        placeholder: 'Name, state, image or label',
        autocomplete: 'off',
        spellcheck: 'false',
        value: filter.text,
        oninput: () => change({ text: text.value.trim() }),
    });
    const find = h(
        'div',
        { class: 'find' },
        h('label', { for: 'filter', class: 'visually-hidden' }, 'Filter machines'),
        text,
    );
    const states = h('div', { class: 'chips', role: 'group', 'aria-label': 'State' });
    const label = h('select', {
        'aria-label': 'Label',
        onchange: () => change({ label: label.value }),
    });
    const sorts = h(
        'div',
        { class: 'chips', role: 'group', 'aria-label': 'Sort by' },
        Object.entries(SORTS).map(([name, { words }]) =>
            h(
                'button',
                { type: 'button', class: 'chip', 'data-sort': name, onclick: () => sortBy(name) },
                words,
            ),
        ),
    );
    const all = h('input', { type: 'checkbox', id: 'pick-all', onclick: () => pickAll() });
    const tools = h(
        'div',
        { class: 'list-tools' },
        mayCreate &&
            h('span', { class: 'pick-all' }, all, h('label', { for: 'pick-all' }, 'All shown')),
        states,
        label,
        h('span', { class: 'sorts' }, h('span', { class: 'help' }, 'Sort'), sorts),
    );
    const bulk = bulkBar({ herd, picked, onClear: clearPicked, signal });
    const blank = h('div', { class: 'blank' });
    const shown = h('p', { class: 'visually-hidden', role: 'status' });
    const root = h(
        'div',
        null,
        h(
            'div',
            { class: 'page-head' },
            h('h1', null, 'Machines'),
            find,
            mayCreate &&
                h('a', { class: 'button primary', href: '#/new' }, icon('plus'), 'New machine'),
        ),
        sums,
        atAGlance,
        trouble,
        tools,
        list,
        blank,
        bulk.root,
        shown,
    );
    const watcher = new IntersectionObserver(
        (entries) => {
            for (const { target, isIntersecting } of entries) {
                if (isIntersecting) {
                    watcher.unobserve(target);
                    rows.get(target.dataset.id)?.fill();
                }
            }
        },
        { rootMargin: `${NEAR_PX}px 0px` },
    );
    list.addEventListener('focusin', (event) => {
        rows.get(event.target.closest('.vm')?.dataset.id)?.fill();
    });

    function change(part) {
        Object.assign(filter, part);
        const query = writeFilter(filter);
        history.replaceState(history.state, '', query ? `#/?${query}` : '#/');
        arrange();
        setText(shown, `${plural(order.length, 'machine')} shown`);
    }

    function sortBy(name) {
        change({
            sort: name,
            down: filter.sort === name ? !filter.down : SORTS[name].down,
        });
    }

    /* A burst of changes is one look at the list, and the longer a look takes the rarer it is. */
    let planned = null;
    let pause = SOON_MS;
    function plan() {
        planned ??= setTimeout(() => {
            const begun = performance.now();
            planned = null;
            arrange();
            pause = Math.max(SOON_MS, 6 * (performance.now() - begun));
        }, pause);
    }

    function arrange() {
        const vms = [...herd.vms.values()];
        order = vms.filter(matcher(filter)).sort(sorter(filter, (id) => herd.figures.of(id)));
        sortedAt = Date.now();
        const keep = new Set(order.map((vm) => vm.id));
        for (const [id, row] of rows) {
            if (!keep.has(id)) {
                watcher.unobserve(row.root);
                row.remove();
                rows.delete(id);
            }
        }
        for (const id of picked) {
            if (!keep.has(id)) {
                picked.delete(id); /* what is not seen is not acted on */
            }
        }
        let before = list.firstElementChild;
        order.forEach((vm, index) => {
            const row = rows.get(vm.id) ?? makeRow(vm);
            if (row.vm !== vm) {
                row.show(vm);
            }
            if (index < FULL_AT_FIRST) {
                row.fill();
            }
            if (row.root === before) {
                before = before.nextElementSibling;
            } else {
                list.insertBefore(row.root, before);
            }
        });
        setHidden(find, vms.length < 2 && !filter.text);
        setHidden(tools, vms.length < 2 && !filter.state && !filter.label);
        setHidden(list, order.length === 0);
        setHidden(blank, order.length > 0);
        showBlank(vms);
        showTools(vms);
        showPicked();
        showSums();
    }

    function makeRow(vm) {
        const row = new Row({
            herd,
            session,
            vm,
            picked: mayCreate ? picked : null,
            onPick: pick,
            onLabel: (value) => change({ label: value }),
        });
        row.show(vm);
        rows.set(vm.id, row);
        watcher.observe(row.root);
        return row;
    }

    function showBlank(vms) {
        if (!herd.loaded) {
            replace(blank, h('p', null, herd.problem ? 'The list is not known.' : 'Loading …'));
        } else if (vms.length === 0) {
            replace(
                blank,
                h('h2', null, 'No machines yet'),
                mayCreate &&
                    h('p', null, 'Create the first one; the demo image boots in a few seconds.'),
                mayCreate && h('a', { class: 'button primary', href: '#/new' }, 'New machine'),
            );
        } else if (order.length === 0) {
            const show = () => {
                text.value = '';
                change({ text: '', state: '', label: '' });
            };
            replace(
                blank,
                h('p', null, 'No machine matches the filter.'),
                h('button', { type: 'button', class: 'button', onclick: show }, 'Show all'),
            );
        }
    }

    /* Counts are of what the other filters leave, so that a press never leads to nothing. */
    function showTools(vms) {
        const counts = countOf(vms.filter(matcher({ ...filter, state: '' })), (vm) => [vm.state]);
        const total = counts.reduce((sum, [, count]) => sum + count, 0);
        const wanted = [['', total], ...counts];
        if (filter.state && !counts.some(([state]) => state === filter.state)) {
            wanted.push([filter.state, 0]);
        }
        const known = new Map([...states.children].map((chip) => [chip.dataset.value, chip]));
        for (const [value, chip] of known) {
            if (!wanted.some(([state]) => state === value)) {
                chip.remove();
            }
        }
        for (const [value, count] of wanted) {
            const chip = known.get(value) ?? stateChip(value);
            states.append(chip);
            chip.setAttribute('aria-pressed', String(filter.state === value));
            setText(chip.lastElementChild, count.toLocaleString());
        }
        const labels = countOf(vms, labelsOf);
        const options = labels.map(([value, count]) => `${value} (${count})`).join('\n');
        if (label.dataset.options !== options) {
            label.dataset.options = options;
            replace(
                label,
                h('option', { value: '' }, 'any label'),
                labels.map(([value, count]) => h('option', { value }, `${value} (${count})`)),
            );
        }
        label.value = filter.label;
        setHidden(label, labels.length === 0);
        for (const chip of sorts.children) {
            const on = chip.dataset.sort === filter.sort;
            const { words } = SORTS[chip.dataset.sort];
            chip.setAttribute('aria-pressed', String(on));
            setText(chip, on ? `${words} ${filter.down ? '↓' : '↑'}` : words);
            chip.setAttribute(
                'aria-label',
                on ? `${words}, ${filter.down ? 'highest first' : 'lowest first'}` : words,
            );
        }
    }

    function stateChip(value) {
        return h(
            'button',
            {
                type: 'button',
                class: 'chip',
                'data-value': value,
                onclick: () => change({ state: filter.state === value ? '' : value }),
            },
            value || 'all',
            ' ',
            h('span', { class: 'chip-count' }),
        );
    }

    function pick(id, on, isRange) {
        const ids = order.map((vm) => vm.id);
        const [from, to] = [ids.indexOf(lastPicked), ids.indexOf(id)];
        const range =
            isRange && from >= 0 ? ids.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
        for (const each of range) {
            picked[on ? 'add' : 'delete'](each);
        }
        lastPicked = id;
        showPicked();
    }

    function pickAll() {
        const on = all.checked;
        picked.clear();
        if (on) {
            order.forEach((vm) => picked.add(vm.id));
        }
        showPicked();
    }

    function clearPicked() {
        picked.clear();
        showPicked();
        all.focus();
    }

    function showPicked() {
        all.checked = order.length > 0 && picked.size === order.length;
        all.indeterminate = picked.size > 0 && picked.size < order.length;
        rows.forEach((row) => row.showPicked());
        bulk.show();
    }

    let host = null;
    function showSums() {
        const vms = [...herd.vms.values()];
        const on = vms.filter((vm) => vm.state === 'running');
        const figures = on.map((vm) => herd.figures.of(vm.id)).filter(Boolean);
        const sum = (of) => {
            const values = figures.map(of).filter((v) => typeof v === 'number');
            return values.length ? values.reduce((a, b) => a + b, 0) : undefined;
        };
        const facts = [
            ['Running', `${on.length} of ${vms.length}`],
            ['CPU', percent(sum((f) => f.cpu?.usage_percent))],
            ['Resident memory', bytes(sum((f) => f.memory?.resident_bytes))],
            ['Saved by KSM', bytes(sum((f) => f.ksm?.saved_bytes))],
        ];
        if (host) {
            facts.push(['Acceleration', host]);
        }
        if (sums.children.length !== facts.length) {
            replace(
                sums,
                facts.map(([name]) => h('div', null, h('dt', null, name), h('dd'))),
            );
        }
        facts.forEach(([, value], index) => setText(sums.children[index].lastElementChild, value));
    }

    session.can('host:read') &&
        get('/v1/host', { signal }).then(
            (facts) => {
                host = facts.acceleration.mode;
                showSums();
            },
            () => {},
        );
    herd.on('list', plan, signal);
    herd.on('failed', arrange, signal);
    herd.on(
        'vm',
        (id) => {
            rows.get(id)?.show(herd.vms.get(id));
            plan();
        },
        signal,
    );
    herd.on(
        'figures',
        () => {
            rows.forEach((row) => row.showFigures());
            const moves = filter.sort === 'cpu' || filter.sort === 'memory';
            if (
                moves &&
                Date.now() - sortedAt > RESORT_MS &&
                !list.contains(document.activeElement)
            ) {
                arrange();
            } else {
                showSums();
            }
        },
        signal,
    );
    herd.on(
        'event',
        (event) => {
            if (event.type === 'vm.state') {
                announce(`${event.subject?.name ?? 'A machine'} is ${event.data?.state}`);
            } else if (event.type === 'vm.deleted') {
                announce(`${event.subject?.name ?? 'A machine'} was deleted`);
            }
        },
        signal,
    );
    signal.addEventListener('abort', () => {
        watcher.disconnect();
        clearTimeout(planned);
    });
    herd.figures.claim(signal);
    arrange();
    return { title: 'Machines', root, start };
}
