/* A terminal as pages show it: who has the keyboard, what can be done, the screen, how it stands. */
import { h, setHidden, setText, uniqueId } from '../lib/dom.js';
import { del } from '../lib/api.js';
import { announce, showNote, showProblem } from '../lib/notify.js';
import { bytes } from '../lib/format.js';
import { confirm, dialogForm } from '../lib/dialog.js';
import { field } from '../lib/forms.js';
import { menu } from '../lib/menu.js';
import { here } from '../lib/place.js';
import { isPlain, logPath, streamTitle } from '../lib/streams.js';
import { keyBar } from './keybar.js';
import { action, nameLink, press } from './parts.js';
import { presence } from './presence.js';
import { ConsoleStream } from './stream.js';
import { ConsoleTerminal } from './terminal.js';

const STATUS_WORDS = {
    live: 'Connected',
    connecting: 'Connecting …',
    ended: 'Ended',
    waiting: 'Waiting',
};
const GAP_WORDS = {
    evicted: (lost) => `${bytes(lost)} of output are no longer kept`,
    restart: () => 'the daemon was restarted here: what the machine printed meanwhile is lost',
};

/*
 * vm(): the VM as it is known now. mayControl: the right to type. isOn(): whether it runs.
 * ticket, oneUse: of a share link. extras: buttons of the page around it. signal: ends it for good.
 */
export function terminalPane({
    vm,
    stream: name,
    mayControl,
    isOn,
    signal,
    ticket = null,
    oneUse = false,
    logged = true,
    extras = [],
    closing = [],
    menuExtras = [],
}) {
    const title = streamTitle(name);
    const plain = isPlain(name);
    const stream = new ConsoleStream({
        vmId: vm().id,
        stream: name,
        mode: mayControl ? 'control' : 'view',
        isOn,
        ticket,
        oneUse,
    });
    let replaying = true;
    let received = 0;
    let mounted = false;

    const dot = h('span', { class: 'recording', role: 'status' }, 'Recording');
    const state = h('span', { class: 'console-state' });
    const facts = h('span', { class: 'console-facts' });
    const screen = h('div', { class: 'console-screen' });
    const hint = uniqueId('console-hint');
    const mode = action('Only watch', toggleMode);
    const reader = action('Screen reader', toggleReader, { 'aria-pressed': 'false' });
    const lines = action('Line by line', toggleLines, { 'aria-pressed': String(plain) });
    const alone = action('Take it for you alone', () => stream.take(true), {
        title: 'Also shuts out raw clients, which cannot ask for the keyboard',
    });
    const copy = action('Copy selection', copySelection);
    const paste = action('Paste …', pasteText);
    const leave = action('Leave terminal', leaveTerminal);
    const again = action('Connect again', () => stream.connect());
    const fit = action('Fit', fitGuest, {
        title: plain
            ? 'Fills the space'
            : 'Fills the space and types "stty rows … cols …" into the machine',
    });
    const usual = action('80 × 24', () => setSize(24, 80));
    const log = h(
        'a',
        { class: 'button small', href: here(logPath(vm().id, name)), download: '' },
        'Download output',
    );
    const forget = action('Forget output …', forgetOutput, { class: 'button small danger' });
    const more = menu(
        { label: `More for ${title}` },
        ticket === null && mayControl && mode,
        mayControl && !stream.pipe && alone,
        copy,
        mayControl && paste,
        usual,
        reader,
        plain && lines,
        logged && !stream.pipe && ticket === null && [log, mayControl && forget],
        menuExtras,
        leave,
    );
    const keyboard = presence({ stream, what: () => `${vm().name}, ${title}`, signal });
    const root = h(
        'section',
        { class: 'panel console', 'aria-label': `${title} of ${vm().name}` },
        h(
            'div',
            { class: 'console-bar' },
            h('h2', null, nameLink(vm()), ' ', title),
            keyboard.root,
            h(
                'div',
                { class: 'button-row console-tools' },
                again,
                dot,
                fit,
                extras,
                more.root,
                closing,
            ),
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
        label: `Terminal: ${title} of ${vm().name}. Ctrl+Shift+L leaves it.`,
        plain,
        onInput: (data) => stream.send(data),
        /* Only the terminal somebody types in answers, and never to output that is only repeated. */
        mayAnswer: () => !replaying && stream.mayType && terminal.focused && !plain,
        onLeave: leaveTerminal,
        onRefused: keyboard.nudge,
        onBehind: () => stream.pause(),
        onCaughtUp: () => stream.connect(),
    });

    stream.on('bytes', (data, repeated) => {
        if (repeated) {
            replaying = true;
        }
        received += data.length;
        terminal.write(data);
        showFacts();
    });
    stream.on('live', () =>
        terminal.term.write('', () => {
            replaying = false;
        }),
    );
    stream.on('gap', (lost, why) => terminal.note((GAP_WORDS[why] ?? GAP_WORDS.evicted)(lost)));
    stream.on('eof', () => terminal.note('the machine sends nothing more here'));
    stream.on('size', (rows, cols) => {
        terminal.resize(rows, cols);
        showFacts();
    });
    stream.on('presence', showRights);
    stream.on('refusal', (code, words) => {
        if (code === 'not-holder') {
            keyboard.nudge();
        } else {
            showNote(`${vm().name}, ${title}: ${words}`);
        }
    });
    stream.on('status', (status, words) => {
        root.dataset.status = status;
        const text = STATUS_WORDS[status];
        setText(state, words && status !== 'connecting' ? `${text}: ${words}` : text);
        setHidden(again, status !== 'ended' || Boolean(ticket && oneUse) || !isOn());
        showRights();
        if (status === 'live' || status === 'ended') {
            announce(`${title} ${text.toLowerCase()}`);
        }
    });
    signal.addEventListener('abort', () => {
        stream.close();
        terminal.dispose();
        root.remove();
    });

    function showFacts() {
        const size = `${terminal.term.cols} × ${terminal.term.rows}`;
        setText(facts, [size, `${bytes(received)} received`].join(' · '));
    }

    function showRights() {
        const viewing = stream.mode === 'view';
        setText(mode, viewing ? 'Join in' : 'Only watch');
        alone.disabled = stream.holds && stream.exclusive;
        fit.disabled = !stream.mayType;
        setHidden(fit, viewing);
        setHidden(usual, viewing);
        setHidden(dot, !stream.recording);
        usual.disabled = !stream.mayType;
        paste.disabled = !stream.mayType;
        terminal.readOnly = !stream.mayType;
        root.dataset.mode = stream.mode;
        root.dataset.keys = stream.mayType ? 'yes' : 'no';
        showFacts();
    }

    function toggleMode() {
        stream.setMode(stream.mode === 'view' ? 'control' : 'view');
        showRights();
    }

    function toggleReader() {
        terminal.screenReader = press(reader);
    }

    function toggleLines() {
        terminal.lineByLine = press(lines);
    }

    function fitGuest() {
        screen.classList.add('fitted');
        const { rows, columns } = terminal.room();
        setSize(rows, columns);
    }

    /* A serial line carries no size: the guest is told in the words its shell understands. */
    function setSize(rows, columns) {
        if (rows === 24 && columns === 80) {
            screen.classList.remove('fitted');
        }
        terminal.resize(rows, columns);
        if (!stream.pipe) {
            stream.tellSize(rows, columns);
        }
        if (!plain) {
            stream.send(new TextEncoder().encode(`stty rows ${rows} cols ${columns}\r`));
        }
        showFacts();
        terminal.focus();
    }

    function leaveTerminal() {
        more.summary.focus();
        announce('Left the terminal');
    }

    async function copySelection() {
        const text = terminal.selection;
        if (!text) {
            showNote('Nothing is selected: drag over the text first');
            return;
        }
        try {
            await navigator.clipboard.writeText(text);
            announce('Copied the selection');
        } catch {
            showNote('This browser gives pages without https no clipboard');
        }
        terminal.focus();
    }

    /* What is on this screen stays until the page is loaded again. */
    async function forgetOutput() {
        const yes = await confirm({
            title: `Forget what ${title} of ${vm().name} printed?`,
            action: 'Forget',
            danger: true,
            body: 'The output that is kept of it is lost: nobody can scroll back to it or download it any more. Recordings stay, and the machine goes on.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(logPath(vm().id, name));
            announce(`What ${title} of ${vm().name} printed is forgotten`);
        } catch (problem) {
            showProblem(`Forgetting the output of ${vm().name} did not work`, problem);
        }
    }

    /* Asked for each time: what is in the clipboard may be a secret, or end in a line end. */
    async function pasteText() {
        const text = h('textarea', { rows: 5, autocomplete: 'off', spellcheck: 'false' });
        text.value = (await navigator.clipboard?.readText().catch(() => '')) ?? '';
        const fields = [field({ label: 'Text', control: text })];
        const heading = `Paste into ${title} of ${vm().name}`;
        if (await dialogForm({ title: heading, fields, action: 'Paste' })) {
            terminal.paste(text.value);
        }
        terminal.focus();
    }

    if (mayControl) {
        root.insertBefore(keyBar(terminal), screen.nextSibling);
    }
    showRights();
    return {
        root,
        stream,
        title,
        /* xterm.js measures, so the pane must be in the document by now. */
        start() {
            if (mounted) {
                return;
            }
            mounted = true;
            terminal.mount(screen);
            terminal.term.textarea.setAttribute('aria-describedby', hint);
            showFacts();
            stream.begin();
        },
        focus() {
            if (mounted) {
                terminal.focus();
            }
        },
        /* The VM's state changed. */
        wake() {
            if (isOn() && stream.status === 'waiting') {
                stream.connect();
            }
        },
    };
}
