/* The streams of one VM: buttons that open them, one at a time or side by side. */
import { dialogForm } from './dialog.js';
import { h, icon, replace, setHidden } from './dom.js';
import { field } from './forms.js';
import { streamTitle, streamsOf, validPort } from './streams.js';

export function streamArea({ vm: first, herd, desk, session, signal }) {
    const { id } = first;
    const vm = () => herd.vms.get(id) ?? first;
    const layout = desk.layout(id);
    const buttons = h('div', {
        class: 'button-row streams',
        role: 'group',
        'aria-label': 'Streams',
    });
    const port = h(
        'button',
        { type: 'button', class: 'button small', onclick: askPort },
        icon('plus'),
        'vsock port …',
    );
    const beside = h(
        'button',
        {
            type: 'button',
            class: 'button small',
            'aria-pressed': String(layout.beside),
            onclick: toggleBeside,
        },
        icon('panes'),
        'Side by side',
    );
    const place = h('div', { class: 'panes' });
    const root = h(
        'section',
        { class: 'stream-area', 'aria-label': 'Consoles', hidden: !session.can('console:view') },
        h('div', { class: 'stream-bar' }, buttons, port, beside),
        place,
    );

    function names() {
        const offered = streamsOf(vm());
        const extra = desk.of(id).map((entry) => entry.stream);
        return [...offered, ...extra.filter((name) => !offered.includes(name))];
    }

    function show() {
        const current = vm();
        const known = new Map([...buttons.children].map((b) => [b.dataset.stream, b]));
        const wanted = names();
        for (const [name, button] of known) {
            if (!wanted.includes(name)) {
                button.remove();
            }
        }
        for (const name of wanted) {
            const button = known.get(name) ?? makeButton(name);
            buttons.append(button);
            mark(button, desk.find(id, name));
        }
        setHidden(port, !current.vsock || !session.can('console:control'));
        const open = desk.of(id);
        setHidden(beside, open.length < 2 && !layout.beside);
        arrange(open);
    }

    function makeButton(name) {
        return h(
            'button',
            {
                type: 'button',
                class: 'button small stream',
                'data-stream': name,
                onclick: () => open(name),
            },
            streamTitle(name),
        );
    }

    function mark(button, entry) {
        const shown = Boolean(entry) && (layout.beside || layout.shown === entry.stream);
        button.setAttribute('aria-pressed', String(shown));
        button.dataset.open = entry ? 'yes' : 'no';
        button.dataset.recording = desk.isRecorded({ vmId: id, stream: button.dataset.stream })
            ? 'yes'
            : 'no';
        button.title = entry ? 'Open' : 'Not open yet';
    }

    function arrange(open) {
        const chosen = open.find((e) => e.stream === layout.shown) ?? open[0];
        const visible = layout.beside ? open : chosen ? [chosen] : [];
        if (!layout.beside && chosen && layout.shown !== chosen.stream) {
            layout.shown = chosen.stream;
            buttons
                .querySelectorAll('.stream')
                .forEach((b) => mark(b, desk.find(id, b.dataset.stream)));
        }
        const order = names();
        visible.sort((a, b) => order.indexOf(a.stream) - order.indexOf(b.stream));
        for (const pane of [...place.children]) {
            if (!visible.some((entry) => entry.root === pane)) {
                pane.remove();
            }
        }
        visible.forEach((entry, index) => {
            if (place.children[index] !== entry.root) {
                place.insertBefore(entry.root, place.children[index] ?? null);
            }
            entry.attached();
        });
        place.dataset.beside = String(layout.beside && visible.length > 1);
        document
            .getElementById('main')
            .classList.toggle('wide', layout.beside && visible.length > 1);
    }

    function open(name, focus = true) {
        layout.shown = name;
        const entry = desk.open(vm(), name);
        show();
        if (focus) {
            entry.focus();
        }
    }

    function toggleBeside() {
        layout.beside = !layout.beside;
        beside.setAttribute('aria-pressed', String(layout.beside));
        show();
    }

    async function askPort() {
        const input = h('input', {
            type: 'number',
            min: 1,
            max: 4294967294,
            step: 1,
            required: true,
            inputmode: 'numeric',
        });
        const chosen = await dialogForm({
            title: `A vsock port of ${vm().name}`,
            fields: [
                field({
                    label: 'Port',
                    control: input,
                    help: 'A program in the machine must be listening there.',
                }),
            ],
            action: 'Connect',
        });
        const number = Number(input.value);
        if (chosen && validPort(number)) {
            open(`vsock/${number}`);
        }
    }

    desk.on('change', show, signal);
    herd.on('vm', (changed) => changed === id && show(), signal);
    signal.addEventListener('abort', () => {
        replace(place);
        document.getElementById('main').classList.remove('wide');
    });
    show();
    return { root, open, show };
}
