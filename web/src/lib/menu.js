/* A button that opens a small sheet: <details>, closed by Escape, by leaving it, by a press elsewhere. */
import { h, icon, setText } from './dom.js';

/* keep: presses inside do not close it. */
export function menu({ class: kind = '', label, text = null, keep = false }, ...children) {
    const words = h('span', null, text ?? '');
    const summary = h(
        'summary',
        { class: 'button small', 'aria-label': label },
        text === null && icon('more'),
        words,
    );
    const sheet = h('div', { class: 'menu-items' }, children);
    const root = h('details', { class: `menu ${kind}`.trim() }, summary, sheet);
    root.addEventListener('keydown', (event) => {
        if (event.key === 'Escape' && root.open) {
            event.stopPropagation();
            root.open = false;
            summary.focus();
        }
    });
    root.addEventListener('focusout', (event) => {
        if (event.relatedTarget && !root.contains(event.relatedTarget)) {
            root.open = false;
        }
    });
    sheet.addEventListener('click', (event) => {
        if (!keep && event.target.closest('button, a')) {
            root.open = false;
        }
    });
    return {
        root,
        summary,
        sheet,
        close() {
            root.open = false;
        },
        setLabel(now) {
            if (text === null) {
                text = '';
                summary.querySelector('.icon')?.remove();
            }
            setText(words, now);
            summary.setAttribute('aria-label', `${now}: ${label}`);
        },
    };
}

document.addEventListener('click', (event) => {
    for (const open of document.querySelectorAll('details.menu[open]')) {
        if (!open.contains(event.target)) {
            open.open = false;
        }
    }
});
