/* Form fields with a place for what is wrong with them. */
import { h, replace, setHidden, setText, uniqueId } from './dom.js';
import { problemBody } from './notify.js';

/* Problems of a resource as a whole that one field is to blame for. */
const POINTERS = { 'name-in-use': '/name' };

/* One labelled control. pointer: the JSON pointer of the member it sets. */
export function field({ label, help, control, pointer }) {
    const id = control.id || (control.id = uniqueId('field'));
    const error = h('span', { class: 'field-error', id: `${id}-error`, hidden: true });
    const hint = help && h('span', { class: 'help', id: `${id}-help` }, help);
    control.setAttribute(
        'aria-describedby',
        [help && `${id}-help`, `${id}-error`].filter(Boolean).join(' '),
    );
    const box = control.type === 'checkbox';
    const root = h(
        'div',
        { class: box ? 'field field-check' : 'field' },
        box && control,
        h('label', { for: id }, label),
        !box && control,
        hint,
        error,
    );
    return {
        root,
        control,
        pointer,
        mark(text) {
            setText(error, text);
            setHidden(error, !text);
            if (text) {
                control.setAttribute('aria-invalid', 'true');
            } else {
                control.removeAttribute('aria-invalid');
            }
        },
    };
}

/* Shows a problem in `trouble` and at the field its pointer names; what was typed stays. */
export function showFormProblem(fields, trouble, problem) {
    replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
    const pointer = problem.pointer || POINTERS[problem.code];
    const at = fields.find(
        (f) =>
            f.pointer && pointer && (pointer === f.pointer || pointer.startsWith(`${f.pointer}/`)),
    );
    if (at) {
        at.mark(problem.detail || problem.title);
        at.control.closest('details')?.setAttribute('open', '');
        at.control.focus();
    } else {
        trouble.querySelector('.notice').setAttribute('tabindex', '-1');
        trouble.querySelector('.notice').focus();
    }
}

export function clearMarks(fields, trouble) {
    replace(trouble);
    fields.forEach((f) => f.mark(''));
}
