/* Reading a list again whenever an event says so; a burst of events costs one or two reads. */
import { isPassing } from './api.js';
import { h, replace } from './dom.js';
import { problemBody } from './notify.js';
import { backoff } from './sse.js';

/*
 * What went wrong, with a button that tries again; what may pass by itself is tried again without
 * it, with longer and longer pauses. `tries`: how often it was in vain before.
 */
export function troubleNotice(problem, { again, tries, signal }) {
    if (isPassing(problem)) {
        const timer = setTimeout(again, backoff(tries));
        signal.addEventListener('abort', () => clearTimeout(timer));
    }
    return notice(problem, again);
}

const notice = (problem, again) =>
    h(
        'div',
        { class: 'notice notice-bad' },
        problemBody(problem),
        h('button', { type: 'button', class: 'button small', onclick: again }, 'Try again'),
    );

/* Says that the machines could not be read; the herd itself tries again. */
export function herdTrouble(herd, signal) {
    const root = h('div', { role: 'alert' });
    const show = () =>
        replace(root, herd.problem && notice(herd.problem, () => herd.reload()));
    herd.on('loaded', show, signal);
    herd.on('failed', show, signal);
    show();
    return root;
}

/* read() fetches and shows; what goes wrong appears in `trouble`. */
export function reloader(read, { trouble, signal }) {
    let loading = null;
    let again = false;
    let tries = 0;
    let shown = null; /* AbortController of the notice: ends its timer */

    async function once() {
        shown?.abort();
        shown = new AbortController();
        try {
            await read();
            tries = 0;
            replace(trouble);
        } catch (problem) {
            if (problem.name !== 'AbortError' && !signal.aborted) {
                const options = { again: load, tries, signal: shown.signal };
                const hadFocus = trouble.contains(document.activeElement);
                replace(trouble, troubleNotice(problem, options));
                hadFocus && trouble.querySelector('button').focus();
                tries += 1;
            }
        }
    }

    signal.addEventListener('abort', () => shown?.abort());
    return load;

    function load() {
        if (loading) {
            again = true;
            return loading;
        }
        loading = once().finally(() => {
            loading = null;
            if (again && !signal.aborted) {
                again = false;
                load();
            }
        });
        return loading;
    }
}

/* Calls fn once for a burst of calls: `ms` after the first of them. */
export function soon(fn, ms, signal) {
    let timer = null;
    signal.addEventListener('abort', () => clearTimeout(timer));
    return () => {
        timer ??= setTimeout(() => {
            timer = null;
            fn();
        }, ms);
    };
}

/* Redraws `list` and gives the focus back to the control of the same name. */
export function redraw(list, items) {
    const focused = document.activeElement?.getAttribute('aria-label');
    replace(list, items);
    if (focused && document.activeElement === document.body) {
        [...list.querySelectorAll('[aria-label]')]
            .find((e) => e.getAttribute('aria-label') === focused)
            ?.focus();
    }
}

/* Calls tick every ms while the page is shown and looked at. */
export function every(ms, tick, signal) {
    const timer = setInterval(() => !document.hidden && tick(), ms);
    signal.addEventListener('abort', () => clearInterval(timer));
}
