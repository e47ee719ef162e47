/*
 * Makes elements. Text only ever becomes text nodes and no attribute takes markup or style, so a
 * guest's or another user's string cannot become anything else.
 */
export function h(tag, props, ...children) {
    return fill(document.createElement(tag), props, children);
}

/* The same for SVG. */
export function s(tag, props, ...children) {
    return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

function fill(element, props, children) {
    for (const [name, value] of Object.entries(props ?? {})) {
        if (value === undefined || value === null || value === false) {
            continue;
        }
        if (name.startsWith('on')) {
            element.addEventListener(name.slice(2), value);
        } else if (name === 'value' || name === 'checked' || name === 'selected') {
            element[name] = value;
        } else {
            element.setAttribute(name, value === true ? '' : String(value));
        }
    }
    add(element, children);
    return element;
}

function add(element, children) {
    for (const child of children.flat(Infinity)) {
        if (child !== null && child !== undefined && child !== false) {
            element.append(child instanceof Node ? child : String(child));
        }
    }
}

export function replace(element, ...children) {
    element.textContent = '';
    add(element, children);
    return element;
}

/* Writes only what differs: keeps selections and does not wake screen readers for nothing. */
export function setText(element, text) {
    const wanted = String(text ?? '');
    if (element.textContent !== wanted) {
        element.textContent = wanted;
    }
}

export function setHidden(element, hidden) {
    if (element.hidden !== hidden) {
        element.hidden = hidden;
    }
}

let serial = 0;
export function uniqueId(prefix) {
    serial += 1;
    return `${prefix}-${serial}`;
}

/* Small line icons, drawn with the text's colour. */
const ICONS = {
    start: 'M5 3.5v9l7.5-4.5z',
    stop: 'M4 4h8v8H4z',
    pause: 'M5.5 3.5v9M10.5 3.5v9',
    console: 'M2.5 3h11v10h-11zM5 6l2 2-2 2M8.5 10.2h2.5',
    more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
    plus: 'M8 3v10M3 8h10',
    copy: 'M6 6h7v7H6zM3.5 10V3.5H10',
    back: 'M9.5 3.5 5 8l4.5 4.5',
    close: 'M4 4l8 8M12 4l-8 8',
    keyboard: 'M1.5 4h13v8h-13zM4 6.5h.01M6.7 6.5h.01M9.3 6.5h.01M12 6.5h.01M5 9.5h6',
    share: 'M8 10V2.5M5 5l3-3 3 3M3 8.5v5h10v-5',
    display: 'M1.5 3h13v8h-13zM5.5 13.5h5',
    panes: 'M2 3h12v10H2zM8 3v10',
    play: 'M5 3.5v9l7.5-4.5z',
};
export function icon(name) {
    return s(
        'svg',
        { viewBox: '0 0 16 16', class: `icon icon-${name}`, 'aria-hidden': 'true' },
        s('path', { d: ICONS[name] }),
    );
}

export function logo() {
    return s(
        'svg',
        { viewBox: '0 0 32 32', class: 'logo', 'aria-hidden': 'true' },
        s('path', { class: 'logo-crook', d: 'M11 27V12a6.5 6.5 0 0 1 13 0c0 2.8-2 4.6-4.5 4.6' }),
        s('circle', { class: 'logo-head', cx: '17.4', cy: '24.6', r: '2.2' }),
        s('circle', { class: 'logo-head', cx: '24.2', cy: '24.6', r: '2.2' }),
    );
}
