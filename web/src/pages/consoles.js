/* Every open console at once, whatever machine it is of, and the machines that have none open. */
import { h, replace, setHidden, setText } from '../lib/dom.js';
import { plural } from '../lib/format.js';
import { herdTrouble } from '../lib/reload.js';
import { matcher } from '../lib/vmfilter.js';
import { consoleWall } from '../lib/wall.js';

const MOST_SHOWN = 120;

export function consolesPage({ herd, desk, signal }) {
    const wall = h('div', { class: 'panes wall', 'data-beside': 'true' });
    const blank = h('div', { class: 'blank' });
    const thumbs = consoleWall({ open, signal });
    const search = h('input', {
        type: 'search',
        'aria-label': 'Filter machines',
        placeholder: 'Name, image or label',
        autocomplete: 'off',
        spellcheck: 'false',
        oninput: () => show(),
    });
    const more = h('p', { class: 'help' });
    const rest = h(
        'section',
        { class: 'panel' },
        h(
            'div',
            { class: 'panel-head' },
            h('h2', null, 'Running machines at a glance'),
            h('div', { class: 'find' }, search),
        ),
        thumbs.root,
        more,
    );
    const root = h(
        'div',
        null,
        h('div', { class: 'page-head' }, h('h1', null, 'Consoles')),
        herdTrouble(herd, signal),
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
        const opened = new Set(entries.map((entry) => entry.vmId));
        const idle = [...herd.vms.values()].filter(
            (vm) => ['running', 'paused'].includes(vm.state) && !opened.has(vm.id),
        );
        const found = idle
            .filter(matcher({ text: search.value, state: '', label: '' }))
            .sort((a, b) => (a.name < b.name ? -1 : 1));
        thumbs.show(found.slice(0, MOST_SHOWN));
        const left = found.length - MOST_SHOWN;
        setText(
            more,
            found.length === 0
                ? 'None matches.'
                : `${plural(left, 'more', 'more')}: filter to see them.`,
        );
        setHidden(more, left <= 0 && found.length > 0);
        setHidden(rest, idle.length === 0);
        setHidden(search, idle.length < 2 && !search.value);
        setHidden(blank, entries.length + idle.length > 0 || !herd.loaded);
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

    function open(vm, stream) {
        desk.open(vm, stream).focus();
        scrollTo({ top: 0 });
    }

    desk.on('change', show, signal);
    herd.on('list', show, signal);
    herd.on('vm', show, signal);
    herd.on('loaded', show, signal);
    document.getElementById('main').classList.add('wide');
    signal.addEventListener('abort', () => {
        replace(wall);
        document.getElementById('main').classList.remove('wide');
    });
    show();
    return { title: 'Consoles', root, start: show };
}
