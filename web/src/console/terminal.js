/*
 * The terminal: xterm.js with everything switched off that lets a guest reach past it. Loaded on
 * demand; nothing else imports xterm.js.
 */
import { Terminal } from '@xterm/xterm';
import { FitAddon } from '@xterm/addon-fit';

/* A serial line has no size; this is what guests assume until they are told otherwise. */
const COLUMNS = 80;
const ROWS = 24;
const BEHIND_BYTES = 1024 * 1024;

const THEME = {
    background: '#12181a',
    foreground: '#d9e2dc',
    cursor: '#e6b450',
    cursorAccent: '#12181a',
    selectionBackground: '#2f5d50',
    selectionForeground: '#ffffff',
    black: '#12181a',
    red: '#f0796b',
    green: '#7fc79a',
    yellow: '#e6b450',
    blue: '#7fb2e6',
    magenta: '#cf9be0',
    cyan: '#74c7c2',
    white: '#d9e2dc',
    brightBlack: '#8b9a94',
    brightRed: '#ff9b8f',
    brightGreen: '#9fe0b6',
    brightYellow: '#f5cc7a',
    brightBlue: '#a5cbf2',
    brightMagenta: '#e2bdee',
    brightCyan: '#9be3de',
    brightWhite: '#ffffff',
};

/* Requests for an answer: (intermediates, final byte). The answer is typed into the guest. */
const QUERIES = [
    { final: 'c' },
    { prefix: '>', final: 'c' },
    { prefix: '=', final: 'c' },
    { final: 'n' },
    { prefix: '?', final: 'n' },
    { intermediates: '$', final: 'p' },
    { prefix: '?', intermediates: '$', final: 'p' },
    { final: 't' },
    { prefix: '>', final: 'q' },
    { prefix: '?', final: 'u' },
];
/* Titles, links, colours, and the clipboard (52): a guest does not get to set these. */
const REFUSED_OSC = [0, 1, 2, 4, 8, 10, 11, 12, 52, 104, 110, 111, 112];

export class ConsoleTerminal {
    #behind = 0;
    #overrun = false;
    #fit = new FitAddon();
    #encoder = new TextEncoder();

    /*
     * onInput(Uint8Array): what the user typed. mayAnswer(): whether replies to a guest's
     * queries may be sent. onLeave(): the key that leaves the terminal. onBehind(), onCaughtUp():
     * the guest prints faster than the terminal can draw, and that is over.
     */
    constructor({ label, onInput, mayAnswer, onLeave, onBehind, onCaughtUp }) {
        this.onBehind = onBehind;
        this.onCaughtUp = onCaughtUp;
        this.term = new Terminal({
            cols: COLUMNS,
            rows: ROWS,
            scrollback: 5000,
            theme: THEME,
            fontSize: 14,
            lineHeight: 1.15,
            fontFamily:
                'ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace',
            cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
            minimumContrastRatio: 4.5,
            allowProposedApi: false,
            linkHandler: { activate() {} },
        });
        this.label = label;
        this.term.loadAddon(this.#fit);
        for (const id of QUERIES) {
            this.term.parser.registerCsiHandler(id, () => !mayAnswer());
        }
        this.term.parser.registerDcsHandler({ intermediates: '$', final: 'q' }, () => !mayAnswer());
        for (const code of REFUSED_OSC) {
            this.term.parser.registerOscHandler(code, () => true);
        }
        this.term.onData((text) => onInput(this.#encoder.encode(text)));
        this.term.onBinary((text) =>
            onInput(Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff)),
        );
        this.term.attachCustomKeyEventHandler((event) => {
            if (isLeaveKey(event)) {
                event.preventDefault();
                if (event.type === 'keydown') {
                    onLeave();
                }
                return false;
            }
            return true;
        });
    }

    mount(parent) {
        this.term.open(parent);
        this.term.textarea.setAttribute('aria-label', this.label);
    }

    /* A browser would buffer a flooding guest without end: say so when parsing falls behind. */
    write(bytes) {
        this.#behind += bytes.length;
        this.term.write(bytes, () => {
            this.#behind -= bytes.length;
            if (this.#overrun && this.#behind === 0) {
                this.#overrun = false;
                this.onCaughtUp();
            }
        });
        if (!this.#overrun && this.#behind > BEHIND_BYTES) {
            this.#overrun = true;
            this.onBehind();
        }
    }

    note(text) {
        this.term.write(`\r\n\x1b[2m[${text}]\x1b[0m\r\n`);
    }

    /* As many rows and columns as there is room for. */
    fit() {
        this.#fit.fit();
        return { columns: this.term.cols, rows: this.term.rows };
    }

    set readOnly(value) {
        this.term.options.disableStdin = value;
    }

    set screenReader(value) {
        this.term.options.screenReaderMode = value;
    }

    get focused() {
        return document.activeElement === this.term.textarea;
    }

    focus() {
        this.term.focus();
    }

    dispose() {
        this.term.dispose();
    }
}

function isLeaveKey(event) {
    return event.ctrlKey && event.shiftKey && (event.code === 'KeyL' || event.key === 'Escape');
}
