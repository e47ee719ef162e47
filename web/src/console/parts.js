/* Pieces that terminals and displays share. */
import { h } from '../lib/dom.js';

export function action(text, onclick, props = {}) {
    return h('button', { type: 'button', class: 'button small', onclick, ...props }, text);
}

/* Shown where panes of several machines stand together. */
export function nameLink(vm) {
    return h('a', { class: 'pane-vm', href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name);
}

/* Turns a toggle over; answers how it stands now. */
export function press(button) {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(on));
    return on;
}
