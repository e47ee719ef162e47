/* The console as the VM page shows it: toolbar, terminal, status line. */
import { h, setHidden, setText, uniqueId } from '../lib/dom.js';
import { announce } from '../lib/notify.js';
import { bytes, plural } from '../lib/format.js';
import { ConsoleStream } from './stream.js';
import { ConsoleTerminal } from './terminal.js';

const HAS_CONSOLE = ['running', 'paused', 'stopping'];

export function consolePanel({ vm, herd, session, signal }) {
    const mayControl = session.can('console:control');
    const stream = new ConsoleStream(vm.id, mayControl ? 'control' : 'view', () =>
        HAS_CONSOLE.includes((herd.vms.get(vm.id) ?? vm).state),
    );
    let replaying = true;
    let received = 0;

    const state = h('span', { class: 'console-state' });
    const facts = h('span', { class: 'console-facts' });
    const screen = h('div', { class: 'console-screen' });
    const hint = uniqueId('console-hint');
    const mode = h('button', { type: 'button', class: 'button small', onclick: toggleMode });
    const reader = h(
        'button',
        { type: 'button', class: 'button small', 'aria-pressed': 'false', onclick: toggleReader },
        'Screen reader',
    );
    const fit = h(
        'button',
        {
            type: 'button',
            class: 'button small',
            onclick: fitGuest,
            title: 'Fills the space and types "stty rows … cols …" into the guest',
        },
        'Fit',
    );
    const leave = h(
        'button',
        { type: 'button', class: 'button small', onclick: leaveTerminal },
        'Leave terminal',
    );
    const root = h(
        'section',
        { class: 'panel console', 'aria-label': `Console of ${vm.name}` },
        h(
            'div',
            { class: 'console-bar' },
            h('h2', null, 'Console'),
            h('div', { class: 'button-row' }, mayControl && mode, fit, reader, leave),
        ),
        screen,
        h(
            'p',
            { class: 'console-status' },
            state,
            facts,
            h(
                'span',
                { id: hint, class: 'console-hint' },
                'Leave with ',
                h('kbd', null, 'Ctrl+Shift+L'),
            ),
        ),
    );

    const terminal = new ConsoleTerminal({
        label: `Terminal of ${vm.name}. Ctrl+Shift+L leaves it.`,
        onInput: (data) => stream.send(data),
        /* Only the terminal somebody types in answers, and never to output that is only repeated. */
        mayAnswer: () => !replaying && stream.mode === 'control' && terminal.focused,
        onLeave: leaveTerminal,
        onBehind: () => stream.pause(),
        onCaughtUp: () => stream.connect(),
    });

    stream.on('bytes', (data, repeated) => {
        replaying = repeated;
        received += data.length;
        terminal.write(data);
        showFacts();
    });
    stream.on('live', () =>
        terminal.term.write('', () => {
            replaying = false;
        }),
    );
    stream.on('gap', (lost) => terminal.note(`${bytes(lost)} of output are no longer kept`));
    stream.on('viewers', showFacts);
    stream.on('status', (status, words) => {
        root.dataset.status = status;
        const text = {
            live: 'Connected',
            connecting: 'Connecting …',
            ended: 'Ended',
            waiting: 'Waiting',
        }[status];
        setText(state, words && status !== 'connecting' ? `${text}: ${words}` : text);
        showMode();
        if (status === 'live' || status === 'ended') {
            announce(`Console ${text.toLowerCase()}`);
        }
    });
    herd.on(
        'vm',
        (id) => {
            const now = herd.vms.get(vm.id);
            if (id === vm.id && now?.state === 'running' && stream.status === 'waiting') {
                stream.connect();
            }
        },
        signal,
    );
    signal.addEventListener('abort', () => {
        stream.close();
        terminal.dispose();
    });

    function showFacts() {
        const role = stream.mode === 'view' ? 'watching' : 'typing';
        setText(
            facts,
            `${role} · ${plural(stream.viewers, 'viewer')} · ${bytes(received)} received`,
        );
    }

    function showMode() {
        const viewing = stream.mode === 'view';
        setText(mode, viewing ? 'Take the keyboard' : 'Only watch');
        fit.disabled = viewing;
        terminal.readOnly = viewing;
        showFacts();
        root.dataset.mode = stream.mode;
    }

    function toggleMode() {
        stream.setMode(stream.mode === 'view' ? 'control' : 'view');
        showMode();
    }

    function toggleReader() {
        const on = reader.getAttribute('aria-pressed') !== 'true';
        reader.setAttribute('aria-pressed', String(on));
        terminal.screenReader = on;
    }

    function fitGuest() {
        screen.classList.add('fitted');
        const { columns, rows } = terminal.fit();
        stream.send(new TextEncoder().encode(`stty rows ${rows} cols ${columns}\r`));
        terminal.focus();
    }

    function leaveTerminal() {
        leave.focus();
        announce('Left the terminal');
    }

    return {
        root,
        /* xterm.js measures, so the panel must be in the document by now. */
        start() {
            setHidden(screen, false);
            terminal.mount(screen);
            terminal.term.textarea.setAttribute('aria-describedby', hint);
            showMode();
            showFacts();
            stream.begin();
            terminal.focus();
        },
    };
}
