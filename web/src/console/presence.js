/* Who looks at a console, who has its one keyboard, and how it changes hands. */
import { h, icon, replace, setHidden, setText } from '../lib/dom.js';
import { announce, showAsk, showNote } from '../lib/notify.js';
import { plural } from '../lib/format.js';
import { menu } from '../lib/menu.js';

/* what(): the console's name for messages that show on other pages. */
export function presence({ stream, what, signal }) {
    const words = h('span', { class: 'keyboard-words' });
    const ask = button('Ask for it', () => (asking() ? stream.release() : stream.ask()));
    const take = button('Take it', () => stream.take());
    const release = button('Give it up', () => stream.release());
    const list = h('ul', { class: 'people' });
    const here = menu({ class: 'people-menu', label: 'Who is here' }, list);
    const root = h(
        'div',
        { class: 'keyboard', role: 'group', 'aria-label': 'Keyboard' },
        h('span', { class: 'keyboard-state' }, icon('keyboard'), words),
        h('span', { class: 'button-row' }, ask, take, release),
        here.root,
    );
    const asks = new Map(); /* id -> takes its message away */
    let before = { holder: null, holds: false, live: false };

    function asking() {
        return stream.requests.includes(stream.me);
    }

    function nameOf(id) {
        const viewer = stream.viewer(id);
        const mine = stream.viewer(stream.me)?.name;
        if (!viewer?.name) {
            return 'Somebody';
        }
        return viewer.name === mine ? `${viewer.name} (another window)` : viewer.name;
    }

    function show() {
        const live = stream.status === 'live' && !stream.pipe;
        setHidden(root, !live);
        if (live) {
            setText(words, sentence());
            root.dataset.keyboard = stream.holds ? 'mine' : stream.holder ? 'other' : 'free';
            const mayAsk = stream.mode === 'control' && Boolean(stream.holder) && !stream.holds;
            setHidden(ask, !mayAsk);
            setText(ask, asking() ? 'Stop asking' : 'Ask for it');
            setHidden(take, !mayAsk);
            setHidden(release, !stream.holds || stream.count < 2);
            here.setLabel(`${plural(stream.count, 'viewer')}`);
            setHidden(here.root, stream.count < 2);
            showPeople();
        }
        showRequests(live);
        tellChanges(live);
    }

    function sentence() {
        if (stream.holds) {
            return stream.exclusive
                ? 'You have the keyboard, for you alone'
                : 'You have the keyboard';
        }
        if (stream.holder) {
            const watching = stream.mode === 'view' ? 'You only watch: ' : '';
            return `${watching}${nameOf(stream.holder)} has the keyboard`;
        }
        return stream.mode === 'view'
            ? 'You only watch; nobody has the keyboard'
            : 'The keyboard is free: type and it is yours';
    }

    function showPeople() {
        const waiting = new Set(stream.requests);
        const focusedId = document.activeElement?.dataset?.viewer;
        replace(
            list,
            stream.viewers.map((viewer) =>
                h(
                    'li',
                    null,
                    h('span', { class: 'person' }, viewer.name || 'somebody'),
                    h('span', { class: 'help' }, role(viewer, waiting)),
                    stream.holds &&
                        viewer.id !== stream.me &&
                        viewer.mode === 'control' &&
                        viewer.protocol === 'v1' &&
                        h(
                            'button',
                            {
                                type: 'button',
                                class: 'button small',
                                'data-viewer': viewer.id,
                                'aria-label': `Hand over the keyboard to ${viewer.name}`,
                                onclick: () => stream.grant(viewer.id),
                            },
                            'Hand over',
                        ),
                ),
            ),
            stream.count > stream.viewers.length &&
                h('li', null, `and ${stream.count - stream.viewers.length} more`),
        );
        if (focusedId && document.activeElement === document.body) {
            (
                list.querySelector(`[data-viewer="${CSS.escape(focusedId)}"]`) ?? here.summary
            ).focus();
        }
    }

    function role(viewer, waiting) {
        const facts = [];
        if (viewer.id === stream.me) {
            facts.push('you');
        }
        if (viewer.id === stream.holder) {
            facts.push('has the keyboard');
        } else if (waiting.has(viewer.id)) {
            facts.push('asks for the keyboard');
        } else {
            facts.push(viewer.mode === 'view' ? 'watches' : 'may type');
        }
        if (viewer.protocol === 'raw') {
            facts.push('a raw client');
        }
        return facts.join(', ');
    }

    /* Only the holder is asked. */
    function showRequests(live) {
        const wanted = new Set(live && stream.holds ? stream.requests : []);
        for (const [id, remove] of asks) {
            if (!wanted.has(id)) {
                remove();
                asks.delete(id);
            }
        }
        for (const id of wanted) {
            if (!asks.has(id)) {
                const text = `${nameOf(id)} asks for the keyboard of ${what()}`;
                asks.set(id, showAsk(text, [['Hand over', () => stream.grant(id)]]));
            }
        }
    }

    function tellChanges(live) {
        const now = { holder: stream.holder, holds: stream.holds, live };
        if (before.live && live) {
            if (before.holds && !now.holds && now.holder) {
                showNote(`${nameOf(now.holder)} has the keyboard of ${what()} now`);
            } else if (!before.holds && now.holds && before.holder) {
                showNote(`You have the keyboard of ${what()} now`);
            } else if (before.holder !== now.holder) {
                announce(sentence());
            }
        }
        before = now;
    }

    stream.on('presence', show, signal);
    stream.on('status', show, signal);
    signal.addEventListener('abort', () => asks.forEach((remove) => remove()));

    /* A key was pressed in vain: say why, without a message for each key. */
    let nudged = null;
    function nudge() {
        clearTimeout(nudged);
        root.dataset.nudge = '';
        announce(sentence());
        nudged = setTimeout(() => delete root.dataset.nudge, 1200);
    }

    show();
    return { root, show, nudge };
}

function button(text, onclick) {
    return h('button', { type: 'button', class: 'button small', onclick }, text);
}
