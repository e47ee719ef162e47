/* A text as the key presses of a US keyboard. Pure. */
const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const PLAIN = "`1234567890-=[]\\;',./";
const CODES = {
    '`': 'Backquote',
    '-': 'Minus',
    '=': 'Equal',
    '[': 'BracketLeft',
    ']': 'BracketRight',
    '\\': 'Backslash',
    ';': 'Semicolon',
    "'": 'Quote',
    ',': 'Comma',
    '.': 'Period',
    '/': 'Slash',
    ' ': 'Space',
};
const NAMED = { '\n': [0xff0d, 'Enter'], '\t': [0xff09, 'Tab'] };

/* [{keysym, code, shift}]; code is null for what a US keyboard has no key for. */
export function keysOf(text) {
    return [...text.replaceAll('\r\n', '\n')].map((char) => {
        if (NAMED[char]) {
            const [keysym, code] = NAMED[char];
            return { keysym, code, shift: false };
        }
        return { keysym: keysym(char), code: code(char), shift: isShifted(char) };
    });
}

function keysym(char) {
    const point = char.codePointAt(0);
    return point < 0x100 ? point : 0x1000000 + point;
}

function isShifted(char) {
    return /^[A-Z]$/.test(char) || SHIFTED.includes(char);
}

function code(char) {
    const at = SHIFTED.indexOf(char);
    const base = at >= 0 ? PLAIN[at] : char.toLowerCase();
    if (/^[a-z]$/.test(base)) {
        return `Key${base.toUpperCase()}`;
    }
    if (/^[0-9]$/.test(base)) {
        return `Digit${base}`;
    }
    return CODES[base] ?? null;
}
