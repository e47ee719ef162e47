/* A button that copies; where the browser has no clipboard (plain http), it selects the text. */
import { h, icon, setText } from './dom.js';
import { announce } from './notify.js';

export function copyButton(source, label) {
    const word = h('span', null, 'Copy');
    return h(
        'button',
        {
            type: 'button',
            class: 'button small copy',
            'aria-label': `Copy ${label}`,
            async onclick() {
                try {
                    await navigator.clipboard.writeText(source.textContent);
                    setText(word, 'Copied');
                    announce(`Copied ${label}`);
                    setTimeout(() => setText(word, 'Copy'), 2000);
                } catch {
                    getSelection().selectAllChildren(source);
                    announce(`Selected ${label}`);
                }
            },
        },
        icon('copy'),
        word,
    );
}
