/*
 * The display of a VM: noVNC over a raw socket (RFB bytes, nothing of ours in between). Loaded on
 * demand; nothing else imports noVNC. Its clipboard is joined to the browser's by hand only.
 */
import RFB from '@novnc/novnc';
import { request } from '../lib/api.js';
import { h, setHidden, setText, uniqueId } from '../lib/dom.js';
import { dialogForm } from '../lib/dialog.js';
import { field } from '../lib/forms.js';
import { menu } from '../lib/menu.js';
import { announce, showAsk, showNote } from '../lib/notify.js';
import { socketHere } from '../lib/place.js';
import { backoff } from '../lib/sse.js';
import { streamPath } from '../lib/streams.js';
import { action, nameLink, press } from './parts.js';
import { keysOf } from './keysyms.js';

const CLOSE_POLICY = 1008;
const SHIFT = 0xffe1;
const CONTROL = 0xffe3;
const STATUS_WORDS = {
    live: 'Connected',
    connecting: 'Connecting …',
    ended: 'Ended',
    waiting: 'Waiting',
};

export function displayPane({
    vm,
    mayControl,
    isOn,
    signal,
    ticket = null,
    oneUse = false,
    extras = [],
    closing = [],
    menuExtras = [],
}) {
    let rfb = null;
    let socket = null;
    let mode = mayControl ? 'control' : 'view';
    let status = 'connecting';
    let retry = null;
    let attempt = 0;
    let started = false;
    let scaled = true;

    const state = h('span', { class: 'console-state' });
    const facts = h('span', { class: 'console-facts' });
    const screen = h('div', { class: 'display-screen', 'data-scale': 'yes' });
    const hint = uniqueId('display-hint');
    const watch = action('Only watch', toggleMode);
    const scale = action('Scale to fit', toggleScale, { 'aria-pressed': 'true' });
    const cad = action('Ctrl+Alt+Del', () => rfb?.sendCtrlAltDel());
    const type = action('Type a text …', typeText, {
        title: 'Sends a text as key presses, for machines without a shared clipboard',
    });
    const paste = action('Give text to its clipboard …', giveText);
    const leave = action('Leave display', leaveDisplay);
    const again = action('Connect again', connect);
    const more = menu(
        { label: 'More for Display' },
        ticket === null && mayControl && watch,
        type,
        paste,
        menuExtras,
        leave,
    );
    const role = h('p', { class: 'keyboard' });
    const root = h(
        'section',
        { class: 'panel console display', 'aria-label': `Display of ${vm().name}` },
        h(
            'div',
            { class: 'console-bar' },
            h('h2', null, nameLink(vm()), ' Display'),
            role,
            h(
                'div',
                { class: 'button-row console-tools' },
                again,
                cad,
                scale,
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
    /* Before noVNC sees it; the keys it has already passed on are let go again. */
    screen.addEventListener(
        'keydown',
        (event) => {
            if (event.ctrlKey && event.shiftKey && event.code === 'KeyL') {
                event.preventDefault();
                event.stopPropagation();
                rfb?.sendKey(CONTROL, 'ControlLeft', false);
                rfb?.sendKey(SHIFT, 'ShiftLeft', false);
                leaveDisplay();
            }
        },
        true,
    );
    signal.addEventListener('abort', () => {
        drop();
        sized.disconnect();
        root.remove();
    });

    function connect() {
        drop();
        setStatus('connecting');
        const url = socketHere(streamPath(vm().id, 'display'));
        url.searchParams.set('mode', mode);
        if (ticket) {
            url.searchParams.set('ticket', ticket);
        }
        const mine = new WebSocket(url, ['binary']);
        socket = mine;
        let opened = false;
        mine.addEventListener('open', () => {
            opened = true;
        });
        mine.addEventListener('close', (event) => {
            if (socket === mine) {
                socket = null;
                onClose(event, opened);
            }
        });
        rfb = new RFB(screen, mine, { shared: true });
        rfb.viewOnly = mode === 'view';
        rfb.scaleViewport = scaled;
        rfb.background = '';
        rfb.focusOnClick = true;
        rfb.addEventListener('connect', onConnect);
        rfb.addEventListener('securityfailure', (event) =>
            showNote(`The display refused: ${event.detail.reason ?? event.detail.status}`),
        );
        rfb.addEventListener('clipboard', (event) => onGuestText(event.detail.text));
    }

    function drop() {
        clearTimeout(retry);
        const old = rfb;
        rfb = null;
        socket = null;
        old?.disconnect();
    }

    function onConnect() {
        attempt = 0;
        const canvas = screen.querySelector('canvas');
        canvas?.setAttribute('aria-label', `Display of ${vm().name}. Ctrl+Shift+L leaves it.`);
        canvas?.setAttribute('aria-describedby', hint);
        canvas?.setAttribute('role', 'application');
        setStatus('live');
        showSize();
        sized.disconnect();
        sized.observe(canvas, { attributeFilter: ['width', 'height'] });
    }

    /* The room is of the picture's shape, so that no bars stand beside it. */
    const sized = new MutationObserver(() => showSize());
    function showSize() {
        const canvas = screen.querySelector('canvas');
        setText(facts, canvas ? `${canvas.width} × ${canvas.height}` : '');
        if (canvas?.width && canvas.height) {
            screen.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
        }
    }

    async function onClose(event, opened) {
        rfb = null;
        if (event.code === CLOSE_POLICY) {
            setStatus('ended', event.reason || 'Your right to this display was withdrawn.');
        } else if (ticket && oneUse && opened) {
            setStatus('ended', 'This link was good for one use; ask for a new one.');
        } else if (ticket) {
            const why = await whyTicket();
            if (why) {
                setStatus('ended', why);
            } else {
                retryLater('The machine does not answer. Trying again …');
            }
        } else if (!isOn()) {
            setStatus('waiting', 'the machine is off; the display comes when it starts');
        } else {
            retryLater(event.reason || 'No connection. Trying again …');
        }
    }

    async function whyTicket() {
        try {
            await request('POST', '/v1/tickets/lookup', { body: { ticket }, quiet401: true });
            return '';
        } catch (problem) {
            const final = problem.status >= 400 && problem.status < 500;
            return final ? [problem.detail || problem.title, problem.remedy].join(' ').trim() : '';
        }
    }

    function retryLater(words) {
        setStatus('waiting', words);
        clearTimeout(retry);
        retry = setTimeout(connect, backoff(attempt));
        attempt += 1;
    }

    function setStatus(now, words = '') {
        if (signal.aborted) {
            return;
        }
        const changed = now !== status;
        status = now;
        root.dataset.status = now;
        root.dataset.mode = mode;
        root.dataset.keys = now === 'live' && mode === 'control' ? 'yes' : 'no';
        setText(state, words ? `${STATUS_WORDS[now]}: ${words}` : STATUS_WORDS[now]);
        const live = now === 'live';
        setText(role, mode === 'view' ? 'You only watch' : 'Your keys and pointer go there');
        setHidden(role, !live);
        setText(watch, mode === 'view' ? 'Join in' : 'Only watch');
        for (const control of [cad, type, paste]) {
            control.disabled = !live || mode === 'view';
        }
        setHidden(again, now !== 'ended' || Boolean(ticket && oneUse));
        if (changed && (live || now === 'ended')) {
            announce(`Display ${STATUS_WORDS[now].toLowerCase()}`);
        }
        setHidden(facts, !live);
    }

    function toggleMode() {
        mode = mode === 'view' ? 'control' : 'view';
        connect();
    }

    function toggleScale() {
        scaled = press(scale);
        screen.dataset.scale = scaled ? 'yes' : 'no';
        if (rfb) {
            rfb.scaleViewport = scaled;
        }
    }

    async function textFor(title, help, label) {
        const text = h('textarea', { rows: 5, autocomplete: 'off', spellcheck: 'false' });
        const fields = [field({ label: 'Text', control: text, help })];
        return (await dialogForm({ title, fields, action: label })) ? text.value : '';
    }

    async function typeText() {
        const help = 'Sent as key presses of a US keyboard, one after the other.';
        const text = await textFor('Type a text', help, 'Type it');
        for (const key of keysOf(text)) {
            if (key.shift) {
                rfb?.sendKey(SHIFT, 'ShiftLeft', true);
            }
            rfb?.sendKey(key.keysym, key.code);
            if (key.shift) {
                rfb?.sendKey(SHIFT, 'ShiftLeft', false);
            }
        }
    }

    async function giveText() {
        const help = 'Reaches machines whose agent shares the clipboard with the display.';
        const text = await textFor('Give text to its clipboard', help, 'Give it');
        if (text) {
            rfb?.clipboardPasteFrom(text);
        }
    }

    /* Never by itself: what a machine copies must not replace what the reader has copied. */
    let asked = null;
    function onGuestText(text) {
        asked?.();
        asked = showAsk(`${vm().name} has copied ${text.length} characters to its clipboard`, [
            ['Copy them here', () => navigator.clipboard?.writeText(text).catch(() => {})],
        ]);
    }

    function leaveDisplay() {
        more.summary.focus();
        announce('Left the display');
    }

    setStatus('connecting');
    return {
        root,
        title: 'Display',
        start() {
            if (started) {
                return;
            }
            started = true;
            if (ticket || isOn()) {
                connect();
            } else {
                setStatus('waiting', 'the machine is off; the display comes when it starts');
            }
        },
        focus() {
            rfb?.focus();
        },
        wake() {
            if (started && isOn() && status === 'waiting') {
                attempt = 0;
                connect();
            }
        },
    };
}
