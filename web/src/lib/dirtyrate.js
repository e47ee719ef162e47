/* How fast a guest writes to its memory, measured when asked. */
import { post } from './api.js';
import { h, replace, setHidden, setText } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { bytes, clock } from './format.js';
import { numberInput } from './inputs.js';
import { announce } from './notify.js';

export function dirtyRate({ vm: first, session, signal }) {
    const path = `/v1/vms/${encodeURIComponent(first.id)}/dirty-rate`;
    const seconds = field({
        label: 'Seconds to watch how fast it writes to its memory',
        pointer: '/seconds',
        control: numberInput(1, 1, 60, { value: '1' }),
    });
    const trouble = h('div', { role: 'alert' });
    const said = h('p', { class: 'help', role: 'status' });
    const submit = h('button', { type: 'submit', class: 'button' }, 'Measure');
    const root = h(
        'form',
        { class: 'dirty-rate', onsubmit: measure },
        h('div', { class: 'line-form' }, seconds.root, submit),
        said,
        trouble,
    );

    async function measure(event) {
        event.preventDefault();
        clearMarks([seconds], trouble);
        submit.disabled = true;
        setText(said, 'Looking …');
        try {
            const wish = { seconds: Number(seconds.control.value) };
            const found = await post(path, wish, { signal });
            const rate = `${bytes(found.bytes_per_second)} per second`;
            setText(
                said,
                `${rate}, at ${clock(found.measured_at)}. To save or move it, its memory has to be copied faster than that; what it writes KSM can hardly merge.`,
            );
            announce(rate);
        } catch (problem) {
            setText(said, '');
            if (problem.name !== 'AbortError') {
                showFormProblem([seconds], trouble, problem);
            }
        } finally {
            submit.disabled = false;
        }
    }

    return {
        root,
        show(vm) {
            const hidden = vm.state !== 'running' || !session.can('vm:write');
            setHidden(root, hidden);
            if (hidden) {
                setText(said, '');
                replace(trouble);
            }
        },
    };
}
