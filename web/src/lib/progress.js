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
    copying: 'Copying',
    verifying: 'Reading again',
    waiting: 'Waiting for room',
};

/* How far an operation is, in figures and in words. */
export function progressText({ state, progress }) {
    if (!progress) {
        const words = state === 'pending' ? 'Waiting for its turn …' : 'Working …';
        return { done: 0, total: null, words };
    }
    const stage = STAGES[progress.stage] ?? 'Working';
    if ('total_vms' in progress) {
        const { done_vms: done, total_vms: total, failed_vms: failed } = progress;
        const bad = failed ? `, ${failed} failed` : '';
        return {
            done: done + failed,
            total,
            words: `${stage}: ${done} of ${total} machines${bad}`,
        };
    }
    const { done_bytes: done, total_bytes: total } = progress;
    const share = total ? ` of ${bytes(total)} (${Math.floor((100 * done) / total)} %)` : '';
    return { done, total, words: `${stage}: ${bytes(done)}${share}` };
}

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
        const { done, total, words } = progressText(now);
        if (!now.progress) {
            return;
        }
        if (total) {
            bar.max = total;
            bar.value = done;
        } else {
            bar.removeAttribute('value');
        }
        setText(text, words);
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
