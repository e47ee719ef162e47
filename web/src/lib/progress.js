/* How far a long operation is, and a way to cancel it. Asked for only while it is looked at. */
import { del, get } from './api.js';
import { h, setText } from './dom.js';
import { bytes } from './format.js';
import { showProblem } from './notify.js';

const ASK_MS = 1000;
const STAGES = {
    downloading: 'Fetching',
    unpacking: 'Unpacking',
    converting: 'Converting',
};

export function operationProgress({ operation, what, signal, onEnd }) {
    const bar = h('progress', { 'aria-label': what });
    const text = h('span', { class: 'help' }, 'Waiting for its turn …');
    const cancel = h(
        'button',
        { type: 'button', class: 'button small', 'aria-label': `Cancel: ${what}`, onclick: stop },
        'Cancel',
    );
    const path = `/v1/operations/${encodeURIComponent(operation.id)}`;
    let timer = null;
    signal.addEventListener('abort', () => clearTimeout(timer));

    function show(now) {
        const { progress } = now;
        if (!progress) {
            return;
        }
        const { stage, done_bytes: done, total_bytes: total } = progress;
        if (total) {
            bar.max = total;
            bar.value = done;
        } else {
            bar.removeAttribute('value');
        }
        const share = total ? ` of ${bytes(total)} (${Math.floor((100 * done) / total)} %)` : '';
        setText(text, `${STAGES[stage] ?? 'Working'}: ${bytes(done)}${share}`);
    }

    async function ask() {
        try {
            const now = await get(path, { signal });
            show(now);
            if (!['pending', 'running'].includes(now.state)) {
                onEnd(now);
                return;
            }
        } catch (problem) {
            if (signal.aborted || problem.status === 404) {
                return;
            }
        }
        if (!signal.aborted) {
            timer = setTimeout(ask, ASK_MS);
        }
    }

    async function stop() {
        cancel.disabled = true;
        try {
            await del(path);
        } catch (problem) {
            cancel.disabled = false;
            showProblem(`Cancelling did not work: ${what}`, problem);
        }
    }

    ask();
    return h('div', { class: 'progress' }, bar, text, cancel);
}
