/* The keys a touch screen's keyboard does not have. Shown where the pointer is a finger. */
import { h } from '../lib/dom.js';

const KEYS = [
    ['Esc', () => '\x1b'],
    ['Tab', () => '\t'],
    ['Ctrl', null],
    ['↑', (t) => `${t.arrowPrefix}A`, 'Up'],
    ['↓', (t) => `${t.arrowPrefix}B`, 'Down'],
    ['←', (t) => `${t.arrowPrefix}D`, 'Left'],
    ['→', (t) => `${t.arrowPrefix}C`, 'Right'],
    ['|', () => '|'],
    ['/', () => '/'],
    ['-', () => '-'],
    ['~', () => '~'],
];

export function keyBar(terminal) {
    const held = (now) => {
        terminal.controlHeld = now;
        control.setAttribute('aria-pressed', String(now));
    };
    const buttons = KEYS.map(([text, sent, label]) =>
        h(
            'button',
            {
                type: 'button',
                class: 'button small',
                'aria-label': label,
                'aria-pressed': sent ? null : 'false',
                onpointerdown: (event) => event.preventDefault() /* the terminal keeps the focus */,
                onclick() {
                    if (sent) {
                        terminal.press(sent(terminal));
                    } else {
                        held(!terminal.controlHeld);
                    }
                    terminal.focus();
                },
            },
            text,
        ),
    );
    const control = buttons[KEYS.findIndex(([text]) => text === 'Ctrl')];
    terminal.onControlUsed = () => held(false);
    return h('div', { class: 'key-bar', role: 'group', 'aria-label': 'Keys' }, buttons);
}
