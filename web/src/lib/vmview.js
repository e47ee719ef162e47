/* Pieces that the list and the VM page share: the state tag, the acceleration badge, the buttons. */
import { h, setHidden, setText } from './dom.js';
import { ACTIONS, act, allowed } from './actions.js';
import { menu } from './menu.js';

/* Shaped like an ear tag; the word carries the meaning, the colour repeats it. */
export class StateTag {
    constructor() {
        this.root = h('span', { class: 'tag' });
    }

    show(vm) {
        setText(this.root, vm.state);
        this.root.dataset.state = vm.state;
    }
}

export class Acceleration {
    constructor() {
        this.root = h('span', { class: 'badge' });
    }

    show(vm) {
        const kind = vm.effective_acceleration;
        setHidden(this.root, !kind);
        if (!kind) {
            return;
        }
        const reason = vm.acceleration_reason;
        this.root.dataset.kind = kind;
        setText(this.root, kind);
        if (reason) {
            this.root.title = reason;
        } else {
            this.root.removeAttribute('title');
        }
    }
}

const SPLIT = {
    first: ['start', 'resume', 'shutdown'],
    more: ['pause', 'reboot', 'save', 'reset', 'stop', 'delete'],
};

/* Buttons for what the VM's state allows; the rarer and the harmful ones are in a menu. */
export class Buttons {
    #buttons = new Map();

    constructor(herd, session, current, after) {
        this.offered = session.can('vm:write');
        const make = (verb) => {
            const button = h(
                'button',
                {
                    type: 'button',
                    class: `button small${ACTIONS[verb].danger ? ' danger' : ''}`,
                    onclick: async () => {
                        this.menu.open = false;
                        const vm = current();
                        button.disabled = true;
                        const done = await act(herd, vm, verb);
                        button.disabled = false;
                        after?.(verb, done);
                    },
                },
                ACTIONS[verb].label,
            );
            this.#buttons.set(verb, button);
            return button;
        };
        const more = menu({ label: 'More actions' }, SPLIT.more.map(make));
        this.menu = more.root;
        this.summary = more.summary;
        this.root = h('div', { class: 'button-row' }, SPLIT.first.map(make), this.menu);
    }

    show(vm) {
        setHidden(this.root, !this.offered);
        this.summary.setAttribute('aria-label', `More actions for ${vm.name}`);
        for (const [verb, button] of this.#buttons) {
            const focused = document.activeElement === button;
            setHidden(button, !allowed(vm, verb));
            button.setAttribute('aria-label', `${ACTIONS[verb].label} ${vm.name}`);
            if (verb === 'start') {
                setText(button, vm.state === 'saved' ? 'Restore' : 'Start');
                button.setAttribute('aria-label', `${button.textContent} ${vm.name}`);
            }
            if (focused && button.hidden) {
                this.summary.focus();
            }
        }
        setHidden(this.menu, vm.state === 'deleting');
    }
}
