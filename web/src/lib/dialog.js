/* Modal questions and small forms. <dialog> traps the focus and gives it back; Escape means no. */
import { h, uniqueId } from './dom.js';
import { clearMarks, showFormProblem } from './forms.js';
import { showProblem } from './notify.js';

export function confirm({ title, body, action, danger }) {
    return ask(title, body, [
        h('button', { value: 'no', class: 'button', autofocus: true }, 'Cancel'),
        h('button', { value: 'yes', class: danger ? 'button danger' : 'button primary' }, action),
    ]);
}

/* A few fields; true: they are valid and the reader wants it. body: what stands above them. */
export function dialogForm({ title, body, fields, action }) {
    return ask(
        title,
        [body, fields.map((f) => f.root)],
        [cancelButton(), h('button', { value: 'yes', class: 'button primary' }, action)],
    );
}

/* No submit button: Enter in a field is for the other one. */
function cancelButton() {
    return h(
        'button',
        {
            type: 'button',
            class: 'button',
            onclick: (event) => event.currentTarget.closest('dialog').close('no'),
        },
        'Cancel',
    );
}

/*
 * A form that stays open until send() has worked: what is refused is shown at its field, and what was
 * typed is still there. Answers whether it was sent. wide: many short fields, side by side where there is room.
 */
export async function formSheet({ title, body, fields, action, danger, wide, send }) {
    const trouble = h('div', { role: 'alert' });
    const submit = h('button', { class: danger ? 'button danger' : 'button primary' }, action);
    const made = build(
        title,
        [body, h('div', { class: wide ? 'form-grid' : 'stack' }, fields.map((f) => f.root)), trouble],
        [cancelButton(), submit],
        'form',
        submitted,
    );

    made.dialog.classList.toggle('dialog-wide', Boolean(wide));

    async function submitted(event) {
        event.preventDefault();
        clearMarks(fields, trouble);
        submit.disabled = true;
        try {
            await send();
            made.dialog.close('yes');
        } catch (problem) {
            submit.disabled = false;
            if (made.dialog.open) {
                showFormProblem(fields, trouble, problem);
            } else {
                showProblem(`${title} did not work`, problem);
            }
        }
    }

    return made.answer;
}

/* Something to look at and work with, until it is closed; it may hold forms of its own. */
export function sheet({ title, body, closed }) {
    const close = () => made.dialog.close();
    const made = build(
        title,
        body,
        [h('button', { type: 'button', class: 'button', onclick: close }, 'Close')],
        'div',
    );
    made.dialog.classList.add('dialog-wide');
    made.answer.then(closed);
    return made.dialog;
}

function ask(title, body, buttons) {
    return build(title, body, buttons).answer;
}

function build(title, body, buttons, frame = 'form', onsubmit = null) {
    const heading = uniqueId('dialog');
    const text = uniqueId('dialog');
    const dialog = h(
        'dialog',
        { class: 'dialog', 'aria-labelledby': heading, 'aria-describedby': text },
        h(
            frame,
            frame === 'form' ? { method: 'dialog', ...(onsubmit && { onsubmit }) } : null,
            h('h2', { id: heading }, title),
            h('div', { id: text, class: 'dialog-body' }, body),
            h('div', { class: 'dialog-buttons' }, buttons),
        ),
    );
    const opener = document.activeElement;
    const answer = new Promise((resolve) => {
        dialog.addEventListener('close', () => {
            dialog.remove();
            if (opener?.isConnected) {
                opener.focus();
            }
            resolve(dialog.returnValue === 'yes');
        });
    });
    document.body.append(dialog);
    dialog.returnValue = 'no';
    dialog.showModal();
    return { dialog, answer };
}
