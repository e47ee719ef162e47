/* The overview: sums, a filter, and one row per VM, updated in place so that focus stays put. */
import { get } from '../lib/api.js';
import { h, icon, replace, setHidden, setText } from '../lib/dom.js';
import { announce, problemBody } from '../lib/notify.js';
import { bytes, mib, percent, plural } from '../lib/format.js';
import { Spark } from '../lib/spark.js';
import { Acceleration, Buttons, StateTag } from '../lib/vmview.js';

const SHOWN_AT_FIRST = 100;

export function listPage({ herd, session, signal }) {
    const mayCreate = session.can('vm:write');
    const rows = new Map();
    let limit = SHOWN_AT_FIRST;
    const list = h('ul', { class: 'herd', 'aria-label': 'Virtual machines' });
    const sums = h('dl', { class: 'sums' });
    const trouble = h('div', { role: 'alert' });
    const filter = h('input', {
        type: 'search',
        id: 'filter',
        placeholder: 'Name, state, image or label',
        autocomplete: 'off',
        spellcheck: 'false',
        oninput: () => {
            limit = SHOWN_AT_FIRST;
            arrange();
        },
    });
    const find = h(
        'div',
        { class: 'find' },
        h('label', { for: 'filter', class: 'visually-hidden' }, 'Filter machines'),
        filter,
    );
    const more = h('button', {
        type: 'button',
        class: 'button',
        onclick: () => {
            limit += SHOWN_AT_FIRST;
            arrange();
        },
    });
    const blank = h('div', { class: 'blank' });
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
        trouble,
        list,
        more,
        blank,
    );

    function arrange() {
        const wanted = filter.value.trim().toLowerCase();
        const all = [...herd.vms.values()];
        const matching = wanted ? all.filter((vm) => text(vm).includes(wanted)) : all;
        matching.sort((a, b) => (a.name < b.name ? -1 : 1));
        const visible = matching.slice(0, limit);
        const keep = new Set(visible.map((vm) => vm.id));
        for (const [id, row] of rows) {
            if (!keep.has(id)) {
                row.remove();
                rows.delete(id);
            }
        }
        let before = list.firstElementChild;
        for (const vm of visible) {
            const row = rows.get(vm.id) ?? new Row(herd, session, vm);
            rows.set(vm.id, row);
            row.show(vm);
            if (row.root === before) {
                before = before.nextElementSibling;
            } else {
                list.insertBefore(row.root, before);
            }
        }
        setHidden(more, matching.length <= limit);
        setText(more, `Show more (${matching.length - visible.length} not shown)`);
        setHidden(find, all.length < 2 && !wanted);
        setHidden(list, visible.length === 0);
        setHidden(blank, visible.length > 0);
        if (!herd.loaded) {
            replace(blank, h('p', null, 'Loading …'));
        } else if (all.length === 0) {
            replace(
                blank,
                h('h2', null, 'No machines yet'),
                mayCreate &&
                    h('p', null, 'Create the first one; the demo image boots in a few seconds.'),
                mayCreate && h('a', { class: 'button primary', href: '#/new' }, 'New machine'),
            );
        } else if (visible.length === 0) {
            replace(blank, h('p', null, 'No machine matches the filter.'));
        }
        showSums();
    }

    let host = null;
    function showSums() {
        const all = [...herd.vms.values()];
        const on = all.filter((vm) => vm.state === 'running');
        const figures = on.map((vm) => herd.figures.of(vm.id)).filter(Boolean);
        const sum = (pick) => {
            const values = figures.map(pick).filter((v) => typeof v === 'number');
            return values.length ? values.reduce((a, b) => a + b, 0) : undefined;
        };
        const facts = [
            ['Running', `${on.length} of ${all.length}`],
            ['CPU', percent(sum((f) => f.cpu?.usage_percent))],
            ['Resident memory', bytes(sum((f) => f.memory?.resident_bytes))],
            ['Merged by KSM', bytes(sum((f) => f.ksm?.merging_bytes))],
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
    herd.on('list', arrange, signal);
    herd.on('loaded', () => replace(trouble), signal);
    herd.on(
        'failed',
        (problem) =>
            replace(
                trouble,
                h(
                    'div',
                    { class: 'notice notice-bad' },
                    problemBody(problem),
                    h(
                        'button',
                        { type: 'button', class: 'button small', onclick: () => herd.reload() },
                        'Try again',
                    ),
                ),
            ),
        signal,
    );
    herd.on(
        'vm',
        (id) => {
            rows.get(id)?.show(herd.vms.get(id));
            showSums();
        },
        signal,
    );
    herd.on(
        'figures',
        () => {
            for (const row of rows.values()) {
                row.showFigures();
            }
            showSums();
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
    herd.figures.claim(signal);
    arrange();
    return { title: 'Machines', root };
}

function text(vm) {
    const labels = Object.entries(vm.labels ?? {}).map(([key, value]) => `${key}=${value}`);
    return [vm.name, vm.state, vm.image, vm.effective_acceleration, ...labels]
        .join(' ')
        .toLowerCase();
}

class Row {
    constructor(herd, session, vm) {
        this.herd = herd;
        this.mayWatch = session.can('console:view');
        this.id = vm.id;
        this.tag = new StateTag();
        this.badge = new Acceleration();
        this.cpu = new Spark('cpu');
        this.memory = new Spark('memory');
        this.buttons = new Buttons(herd, session, () => this.vm);
        this.link = h('a', { class: 'vm-name' });
        this.console = h('a', { class: 'button small' }, icon('console'), 'Console');
        this.reason = h('p', { class: 'vm-reason' });
        this.shape = h('span', { class: 'vm-shape' });
        this.cpuText = h('span', { class: 'figure' });
        this.memoryText = h('span', { class: 'figure' });
        this.root = h(
            'li',
            { class: 'vm' },
            h(
                'div',
                { class: 'vm-what' },
                h('div', { class: 'vm-title' }, this.link, this.tag.root, this.badge.root),
                this.shape,
                this.reason,
            ),
            (this.figures = h(
                'div',
                { class: 'vm-figures' },
                h(
                    'div',
                    { class: 'meter' },
                    h('span', { class: 'meter-name' }, 'CPU'),
                    this.cpu.root,
                    this.cpuText,
                ),
                h(
                    'div',
                    { class: 'meter' },
                    h('span', { class: 'meter-name' }, 'Memory'),
                    this.memory.root,
                    this.memoryText,
                ),
            )),
            h('div', { class: 'vm-actions' }, this.console, this.buttons.root),
        );
    }

    show(vm) {
        this.vm = vm;
        const address = `#/vms/${encodeURIComponent(vm.name)}`;
        this.root.dataset.state = vm.state;
        this.link.href = address;
        setText(this.link, vm.name);
        this.tag.show(vm);
        this.badge.show(vm);
        setText(
            this.shape,
            [plural(vm.cpus, 'CPU'), mib(vm.memory_mib), vm.image].filter(Boolean).join(' · '),
        );
        const telling = ['crashed', 'failed', 'saved', 'paused'].includes(vm.state);
        setText(this.reason, telling ? vm.state_reason : '');
        setHidden(this.reason, !(telling && vm.state_reason));
        this.console.href = `${address}/console`;
        this.console.setAttribute('aria-label', `Console of ${vm.name}`);
        setHidden(
            this.console,
            !this.mayWatch || (vm.state !== 'running' && vm.state !== 'paused'),
        );
        this.buttons.show(vm);
        this.showFigures();
    }

    showFigures() {
        const figures =
            this.vm.state === 'running' || this.vm.state === 'paused'
                ? this.herd.figures.of(this.id)
                : null;
        const history = figures ? this.herd.figures.history(this.id) : { cpu: [], memory: [] };
        this.cpu.draw(history.cpu, 100 * this.vm.cpus);
        this.memory.draw(history.memory, this.vm.memory_mib * 1024 * 1024);
        this.figures.classList.toggle('absent', !figures);
        this.figures.classList.toggle('old-figures', Boolean(figures?.stale));
        this.figures.title = figures?.stale ? `Old figures: ${figures.stale_reason ?? ''}` : '';
        setText(this.cpuText, percent(figures?.cpu?.usage_percent));
        setText(this.memoryText, bytes(figures?.memory?.resident_bytes));
    }

    remove() {
        if (this.root.contains(document.activeElement)) {
            const next = this.root.nextElementSibling ?? this.root.previousElementSibling;
            (next?.querySelector('.vm-name') ?? document.querySelector('h1 ~ a, main a'))?.focus();
        }
        this.root.remove();
    }
}
