/* Every open console at once, whatever machine it is of, and the machines that have none open. */
import { h, replace, setHidden } from '../lib/dom.js';

export function consolesPage({ herd, desk, signal }) {
    const wall = h('div', { class: 'panes wall', 'data-beside': 'true' });
    const blank = h('div', { class: 'blank' });
    const closed = h('ul', { class: 'button-row' });
    const rest = h(
        'section',
        { class: 'panel' },
        h('h2', null, 'Running, without an open console'),
        closed,
    );
    const root = h(
        'div',
        null,
        h('div', { class: 'page-head' }, h('h1', null, 'Consoles')),
        wall,
        blank,
        rest,
    );

    function show() {
        const entries = desk.entries.sort((a, b) => (a.key < b.key ? -1 : 1));
        for (const pane of [...wall.children]) {
            if (!entries.some((entry) => entry.root === pane)) {
                pane.remove();
            }
        }
        entries.forEach((entry, index) => {
            if (wall.children[index] !== entry.root) {
                wall.insertBefore(entry.root, wall.children[index] ?? null);
            }
            entry.attached();
        });
        setHidden(wall, entries.length === 0);
        const open = new Set(entries.map((entry) => entry.vmId));
        const idle = [...herd.vms.values()]
            .filter((vm) => vm.state === 'running' && !open.has(vm.id))
            .sort((a, b) => (a.name < b.name ? -1 : 1));
        replace(
            closed,
            idle.map((vm) => h('li', null, opener(vm))),
        );
        setHidden(rest, idle.length === 0);
        setHidden(blank, entries.length + idle.length > 0);
        replace(
            blank,
            h('h2', null, 'No console is open'),
            h(
                'p',
                null,
                'Start a machine and open its console: it goes on here while you move about.',
            ),
            h('a', { class: 'button', href: '#/' }, 'Machines'),
        );
    }

    function opener(vm) {
        return h(
            'button',
            {
                type: 'button',
                class: 'button small',
                'aria-label': `Open the console of ${vm.name}`,
                onclick: () => desk.open(vm, 'console').focus(),
            },
            vm.name,
        );
    }

    desk.on('change', show, signal);
    herd.on('list', show, signal);
    herd.on('vm', show, signal);
    document.getElementById('main').classList.add('wide');
    signal.addEventListener('abort', () => {
        replace(wall);
        document.getElementById('main').classList.remove('wide');
    });
    show();
    return { title: 'Consoles', root, start: show };
}
