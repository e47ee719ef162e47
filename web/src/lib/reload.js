/* Reading a list again whenever an event says so; a burst of events costs one or two reads. */
import { h, replace } from './dom.js';
import { problemBody } from './notify.js';

/* read() fetches and shows; what goes wrong appears in `trouble`. */
export function reloader(read, { trouble, signal }) {
    let loading = null;
    let again = false;

    async function once() {
        try {
            await read();
            replace(trouble);
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
            }
        }
    }

    return function load() {
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
