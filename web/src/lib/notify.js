/* Words for people who do not see the screen change, and errors that stay until dismissed. */
import { h, setText } from './dom.js';

const polite = h('div', { class: 'visually-hidden', role: 'status', 'aria-live': 'polite' });
const shelf = h('div', { class: 'shelf', role: 'region', 'aria-label': 'Messages' });

export function mountNotices(parent) {
    parent.append(polite, shelf);
}

let queue = [];
/* Changes in one breath are read out as one sentence. */
export function announce(text) {
    queue.push(text);
    if (queue.length === 1) {
        setTimeout(() => {
            setText(polite, queue.slice(-5).join('. '));
            queue = [];
        }, 150);
    }
}

/* The four things worth knowing about a failure: what, why, what to do, and the id in the log. */
export function problemBody(problem) {
    return [
        h('p', { class: 'problem-title' }, problem.title || 'Something went wrong'),
        (problem.detail || (!problem.title && problem.message)) &&
            h('p', { class: 'problem-detail' }, problem.detail || String(problem.message)),
        problem.remedy &&
            h('p', { class: 'problem-remedy' }, h('strong', null, 'What to do: '), problem.remedy),
        problem.requestId &&
            h('p', { class: 'problem-id' }, 'Request ', h('code', null, problem.requestId)),
    ];
}

/* what: "Start web-1", so that the message stands on its own. */
export function showProblem(what, problem) {
    if (problem?.name === 'AbortError') {
        return;
    }
    const card = h(
        'section',
        { class: 'notice notice-bad', role: 'alert' },
        h('p', { class: 'notice-what' }, what),
        problemBody(problem),
        h(
            'button',
            { type: 'button', class: 'button small', onclick: () => card.remove() },
            'Dismiss',
        ),
    );
    shelf.append(card);
    while (shelf.children.length > 4) {
        shelf.firstElementChild.remove();
    }
}

export function showNote(text) {
    const card = h('p', { class: 'notice' }, text);
    shelf.append(card);
    announce(text);
    setTimeout(() => card.remove(), 6000);
}

/*
 * Something that wants a decision, on whatever page it finds the reader. actions: [words, fn].
 * Answers what takes it away again; onDismiss tells that the reader did.
 */
export function showAsk(text, actions, onDismiss) {
    const remove = () => card.remove();
    const button = (words, fn, kind) =>
        h(
            'button',
            {
                type: 'button',
                class: `button small${kind}`,
                onclick() {
                    remove();
                    fn?.();
                },
            },
            words,
        );
    const card = h(
        'section',
        { class: 'notice notice-ask', role: 'alert' },
        h('p', null, text),
        h(
            'div',
            { class: 'button-row' },
            actions.map(([words, fn], index) => button(words, fn, index === 0 ? ' primary' : '')),
            button('Not now', onDismiss, ''),
        ),
    );
    shelf.append(card);
    return remove;
}
