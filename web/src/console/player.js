/* Plays a recording in a terminal: play, pause, seek, speed, and long pauses cut short. */
import { h, icon, replace, setText } from '../lib/dom.js';
import { duration } from '../lib/recordings.js';
import { countUntil, parseCast, resizeOf, schedule } from './cast.js';
import { ConsoleTerminal } from './terminal.js';

const SPEEDS = ['0.5', '1', '2', '4', '8', '16'];
const PAUSES = [
    ['0', 'as they were'],
    ['1', 'at most 1 s'],
    ['2', 'at most 2 s'],
    ['5', 'at most 5 s'],
];
const STEP_SECONDS = 5;

export function player({ text, label, signal }) {
    const cast = parseCast(text);
    let times = schedule(cast.events, 2);
    let position = 0; /* seconds */
    let shown = 0; /* events written */
    let playing = false;
    let speed = 1;
    let last = 0; /* when the frame before was drawn */

    const screen = h('div', { class: 'console-screen' });
    const button = h('button', { type: 'button', class: 'button small play', onclick: toggle });
    const bar = h('input', {
        type: 'range',
        class: 'seek',
        min: 0,
        step: 'any',
        'aria-label': 'Position',
        oninput: () => seek(Number(bar.value)),
    });
    const clock = h('span', { class: 'player-clock' });
    const rate = h(
        'select',
        { 'aria-label': 'Speed', onchange: () => setSpeed(Number(rate.value)) },
        SPEEDS.map((s) => h('option', { value: s, selected: s === '1' }, `${s} ×`)),
    );
    const limit = h(
        'select',
        { 'aria-label': 'Pauses', onchange: setLimit },
        PAUSES.map(([v, words]) =>
            h('option', { value: v, selected: v === '2' }, `Pauses ${words}`),
        ),
    );
    const root = h(
        'section',
        { class: 'panel console player', 'aria-label': label, onkeydown: onKey },
        screen,
        h('div', { class: 'player-bar' }, button, bar, clock, rate, limit),
        h(
            'p',
            { class: 'console-status' },
            h('span', null, h('kbd', null, 'Space'), ' plays and pauses'),
            h('span', null, h('kbd', null, '←'), ' ', h('kbd', null, '→'), ' go 5 seconds'),
            h('span', null, h('kbd', null, '<'), ' ', h('kbd', null, '>'), ' change the speed'),
        ),
    );
    const terminal = new ConsoleTerminal({ label, keys: false, onInput() {} });
    signal.addEventListener('abort', () => {
        playing = false;
        terminal.dispose();
    });

    const length = () => (times.length ? times[times.length - 1] : 0);

    /* Of a short one, tenths are worth showing. */
    const moment = (at) => (length() < 60 ? `${at.toFixed(1)} s` : duration(at));

    function show() {
        bar.max = String(length());
        bar.value = String(position);
        const [now, end] = [position, length()].map(moment);
        bar.setAttribute('aria-valuetext', `${now} of ${end}`);
        setText(clock, `${now} / ${end}`);
        const verb = playing ? 'Pause' : 'Play';
        if (button.getAttribute('aria-label') !== verb) {
            button.setAttribute('aria-label', verb);
            replace(button, icon(playing ? 'pause' : 'play'));
        }
        root.dataset.playing = playing ? 'yes' : 'no';
    }

    /* Everything up to the position, in as few writes as the resizes between allow. */
    function catchUp() {
        const wanted = countUntil(times, position);
        if (wanted < shown) {
            terminal.clear();
            terminal.resize(cast.rows, cast.columns);
            shown = 0;
        }
        let output = [];
        const flush = () => {
            if (output.length) {
                terminal.term.write(output.join(''));
                output = [];
            }
        };
        for (; shown < wanted; shown += 1) {
            const event = cast.events[shown];
            const now = resizeOf(event);
            if (event.kind === 'o') {
                output.push(event.data);
            } else if (now) {
                flush();
                terminal.resize(now.rows, now.columns);
            } else if (event.kind === 'm') {
                flush();
                terminal.note(event.data || 'bytes are missing here');
            }
        }
        flush();
    }

    function seek(moment) {
        position = Math.min(length(), Math.max(0, moment));
        catchUp();
        show();
    }

    function toggle() {
        if (playing) {
            playing = false;
        } else {
            if (position >= length()) {
                seek(0);
            }
            playing = true;
            last = performance.now();
            requestAnimationFrame(frame);
        }
        show();
    }

    function frame(now) {
        if (!playing || signal.aborted) {
            return;
        }
        position += (Math.max(0, now - last) / 1000) * speed;
        last = now;
        if (position >= length()) {
            position = length();
            playing = false;
        }
        catchUp();
        show();
        requestAnimationFrame(frame);
    }

    function setSpeed(now) {
        speed = now;
        rate.value = String(now);
    }

    /* The picture stays, only its moment is counted anew. */
    function setLimit() {
        times = schedule(cast.events, Number(limit.value));
        position = shown > 0 ? times[shown - 1] : 0;
        show();
    }

    function onKey(event) {
        if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === 'SELECT') {
            return;
        }
        const faster = { '<': -1, '>': 1 }[event.key];
        const step = { ArrowLeft: -STEP_SECONDS, ArrowRight: STEP_SECONDS }[event.key];
        if (event.key === ' ' && event.target !== button) {
            toggle();
        } else if (faster) {
            const at = SPEEDS.indexOf(String(speed)) + faster;
            setSpeed(Number(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at))]));
        } else if (step) {
            seek(position + step);
        } else if (event.key === 'Home' || event.key === 'End') {
            seek(event.key === 'Home' ? 0 : length());
        } else {
            return;
        }
        event.preventDefault();
    }

    show();
    return {
        root,
        /* xterm.js measures, so it must be in the document by now. */
        start() {
            terminal.mount(screen);
            terminal.resize(cast.rows, cast.columns);
            terminal.term.textarea.tabIndex = -1; /* nothing is typed here */
            button.focus();
            toggle();
        },
    };
}
