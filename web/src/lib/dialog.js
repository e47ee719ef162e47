/* Modal questions. <dialog> traps the focus and gives it back; Escape means no. */
import { h, uniqueId } from './dom.js';

export function confirm({ title, body, action, danger }) {
    return new Promise((resolve) => {
        const heading = uniqueId('dialog');
        const text = uniqueId('dialog');
        const dialog = h(
            'dialog',
            { class: 'dialog', 'aria-labelledby': heading, 'aria-describedby': text },
            h(
                'form',
                { method: 'dialog' },
                h('h2', { id: heading }, title),
                h('div', { id: text }, body),
                h(
                    'div',
                    { class: 'dialog-buttons' },
                    h('button', { value: 'no', class: 'button', autofocus: true }, 'Cancel'),
                    h(
                        'button',
                        { value: 'yes', class: danger ? 'button danger' : 'button primary' },
                        action,
                    ),
                ),
            ),
        );
        const opener = document.activeElement;
        dialog.addEventListener('close', () => {
            dialog.remove();
            if (opener?.isConnected) {
                opener.focus();
            }
            resolve(dialog.returnValue === 'yes');
        });
        document.body.append(dialog);
        dialog.returnValue = 'no';
        dialog.showModal();
    });
}
