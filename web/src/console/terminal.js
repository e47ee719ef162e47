/*
 * The terminal: xterm.js with everything switched off that lets a guest reach past it. Loaded on
 * demand; nothing else imports xterm.js.
 */
import { Terminal } from '@xterm/xterm';
import { FitAddon } from '@xterm/addon-fit';

/* A serial line has no size; this is what guests assume until they are told otherwise. */
const COLUMNS = 80;
const ROWS = 24;
const FONT_PX = 14;
const SMALLEST_FONT_PX = 10;
const LETTER_WIDTH = 0.605; /* of its height, in the fonts below */
const PADDING_PX = 36; /* around the screen, and the bar that scrolls */
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
    #parent = null;
    #resized = new ResizeObserver(() => this.#fitLetters());

    /*
     * onInput(Uint8Array): what the user typed. mayAnswer(): whether replies to a guest's
     * queries may be sent. onLeave(): the key that leaves the terminal. onRefused(): a key was
     * pressed in a terminal that takes none. onBehind(), onCaughtUp(): the guest prints faster
     * than the terminal can draw, and that is over. plain: no terminal line in the guest, so what
     * is typed is edited and shown here and sent line by line.
     */
    constructor({
        label,
        onInput,
        mayAnswer = () => false,
        onLeave,
        onRefused = () => {},
        onBehind = () => {},
        onCaughtUp = () => {},
        plain = false,
        keys = true,
    }) {
        this.onBehind = onBehind;
        this.onCaughtUp = onCaughtUp;
        this.term = new Terminal({
            cols: COLUMNS,
            rows: ROWS,
            scrollback: 5000,
            theme: THEME,
            fontSize: FONT_PX,
            lineHeight: 1.15,
            fontFamily:
                'ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace',
            cursorBlink: !matchMedia('(prefers-reduced-motion: reduce)').matches,
            minimumContrastRatio: 4.5,
            allowProposedApi: false,
            linkHandler: { activate() {} },
            convertEol: plain,
            disableStdin: !keys,
        });
        const line = new LineEditor(
            (text) => onInput(this.#encoder.encode(text)),
            (text) => this.term.write(text),
        );
        this.label = label;
        this.term.loadAddon(this.#fit);
        for (const id of QUERIES) {
            this.term.parser.registerCsiHandler(id, () => !mayAnswer());
        }
        this.term.parser.registerDcsHandler({ intermediates: '$', final: 'q' }, () => !mayAnswer());
        for (const code of REFUSED_OSC) {
            this.term.parser.registerOscHandler(code, () => true);
        }
        this.term.onData((typed) => {
            const text = this.controlHeld ? this.#withControl(typed) : typed;
            if (this.plain) {
                line.type(text);
            } else {
                onInput(this.#encoder.encode(text));
            }
        });
        this.term.onBinary((text) =>
            onInput(Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff)),
        );
        this.term.attachCustomKeyEventHandler((event) => {
            if (isLeaveKey(event)) {
                event.preventDefault();
                if (event.type === 'keydown') {
                    onLeave?.();
                }
                return false;
            }
            if (this.term.options.disableStdin) {
                const printing = event.key.length === 1 || event.key === 'Enter';
                if (event.type === 'keydown' && printing && !event.ctrlKey && !event.metaKey) {
                    onRefused();
                }
                return event.key !== 'Tab'; /* nothing takes it here, so it moves on */
            }
            return true;
        });
        this.plain = plain;
        this.controlHeld = false;
        this.onControlUsed = () => {};
    }

    /* A key bar's Ctrl: for the one letter that comes next. */
    #withControl(text) {
        this.controlHeld = false;
        this.onControlUsed();
        return /^[@-_a-z]$/.test(text) ? String.fromCharCode(text.charCodeAt(0) & 0x1f) : text;
    }

    /* As if it were typed. */
    press(text) {
        this.term.input(text, true);
    }

    paste(text) {
        this.term.paste(text);
    }

    get selection() {
        return this.term.getSelection();
    }

    /* What an arrow key sends depends on what the program in the guest asked for. */
    get arrowPrefix() {
        return this.term.modes.applicationCursorKeysMode ? '\x1bO' : '\x1b[';
    }

    mount(parent) {
        this.#parent = parent;
        this.term.open(parent);
        this.term.textarea.setAttribute('aria-label', this.label);
        this.#fitLetters();
        this.#resized.observe(parent);
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

    /* A line of ours between the guest's, ruled off so that it is not taken for one of them. */
    note(text) {
        this.term.write(`\x1b[0m\r\n\x1b[7m ${printable(text)} \x1b[0m\r\n`);
    }

    /* How many rows and columns there is room for, in letters of the usual size. */
    room() {
        this.term.options.fontSize = FONT_PX;
        const { rows, cols } = this.#fit.proposeDimensions() ?? {};
        return { rows: Math.max(rows || ROWS, 2), columns: Math.max(cols || COLUMNS, 20) };
    }

    /* How large the guest thinks it is, so that everybody sees its lines break alike. */
    resize(rows, columns) {
        if (rows !== this.term.rows || columns !== this.term.cols) {
            this.term.resize(columns, rows);
        }
        this.#fitLetters();
    }

    /* Letters shrink, to a point, so that a whole line is seen in a narrow pane. */
    #fitLetters() {
        const width = this.#parent?.clientWidth;
        if (width) {
            const widest = (width - PADDING_PX) / this.term.cols / LETTER_WIDTH;
            const size = Math.floor(Math.min(FONT_PX, Math.max(SMALLEST_FONT_PX, widest)) * 2) / 2;
            if (this.term.options.fontSize !== size) {
                this.term.options.fontSize = size;
            }
        }
    }

    set lineByLine(value) {
        this.plain = value;
        this.term.options.convertEol = value;
    }

    clear() {
        this.term.reset();
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
        this.#resized.disconnect();
        this.term.dispose();
    }
}

function isLeaveKey(event) {
    return event.ctrlKey && event.shiftKey && (event.code === 'KeyL' || event.key === 'Escape');
}

function printable(text) {
    return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, ' ');
}

/* What a terminal line does in a guest with one: shows what is typed, lets it be mended. */
class LineEditor {
    #line = [];

    constructor(send, show) {
        this.send = send;
        this.show = show;
    }

    type(text) {
        if (text.startsWith('\x1b')) {
            return; /* arrow and function keys have no meaning in a line without a terminal */
        }
        for (const char of text) {
            this.#key(char);
        }
    }

    #key(char) {
        if (char === '\r' || char === '\n') {
            this.show('\r\n');
            this.send(`${this.#line.join('')}\n`);
            this.#line = [];
        } else if (char === '\x7f' || char === '\b') {
            if (this.#line.pop() !== undefined) {
                this.show('\b \b');
            }
        } else if (char === '\x15') {
            this.show('\b \b'.repeat(this.#line.length));
            this.#line = [];
        } else if (char < ' ' && char !== '\t') {
            this.send(char);
        } else {
            this.#line.push(char);
            this.show(char);
        }
    }
}
