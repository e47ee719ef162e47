/*
 * One machine in the list. A row is a name until it comes near the screen: a thousand machines are
 * a thousand links, not a thousand menus, and the browser's own search still finds every name.
 */
import { h, icon, setHidden, setText } from './dom.js';
import { bytes, mib, percent, plural } from './format.js';
import { Spark } from './spark.js';
import { labelsOf } from './vmfilter.js';
import { Acceleration, Buttons, StateTag } from './vmview.js';

const LABELS_SHOWN = 4;

export class Row {
    full = false;

    /* picked: the set of chosen ids, or null where nothing may be done with them. */
    constructor({ herd, session, vm, picked, onPick, onLabel }) {
        this.herd = herd;
        this.session = session;
        this.id = vm.id;
        this.picked = picked;
        this.onPick = onPick;
        this.onLabel = onLabel;
        this.tag = new StateTag();
        this.link = h('a', { class: 'vm-name' });
        this.shape = h('span', { class: 'vm-shape' });
        this.title = h('div', { class: 'vm-title' }, this.link, this.tag.root);
        this.what = h('div', { class: 'vm-what' }, this.title, this.shape);
        this.root = h('li', { class: 'vm', 'data-id': vm.id }, this.what);
    }

    /* The rest of it, when it is about to be seen. */
    fill() {
        if (this.full) {
            return;
        }
        this.full = true;
        this.badge = new Acceleration();
        this.cpu = new Spark('cpu');
        this.memory = new Spark('memory');
        this.buttons = new Buttons(this.herd, this.session, () => this.vm);
        this.console = h('a', { class: 'button small' }, icon('console'), 'Console');
        this.reason = h('p', { class: 'vm-reason' });
        this.labels = h('span', { class: 'vm-labels' });
        this.cpuText = h('span', { class: 'figure' });
        this.memoryText = h('span', { class: 'figure' });
        this.figures = h(
            'div',
            { class: 'vm-figures' },
            meter('CPU', this.cpu, this.cpuText),
            meter('Memory', this.memory, this.memoryText),
        );
        if (this.picked) {
            this.box = h('input', {
                type: 'checkbox',
                class: 'vm-pick',
                onclick: (event) => this.onPick(this.id, this.box.checked, event.shiftKey),
            });
            this.root.prepend(this.box);
            this.root.classList.add('vm-pickable');
        }
        this.title.append(this.badge.root);
        this.what.append(this.labels, this.reason);
        this.root.append(
            this.figures,
            h('div', { class: 'vm-actions' }, this.console, this.buttons.root),
        );
        this.show(this.vm);
    }

    show(vm) {
        this.vm = vm;
        const address = `#/vms/${encodeURIComponent(vm.name)}`;
        this.root.dataset.state = vm.state;
        this.link.href = address;
        setText(this.link, vm.name);
        this.tag.show(vm);
        setText(
            this.shape,
            [plural(vm.cpus, 'CPU'), mib(vm.memory_mib), vm.image].filter(Boolean).join(' · '),
        );
        if (this.full) {
            this.#showRest(vm, address);
        }
    }

    #showRest(vm, address) {
        this.badge.show(vm);
        this.#showLabels(labelsOf(vm));
        const telling =
            ['crashed', 'failed', 'saved', 'paused'].includes(vm.state) ||
            vm.state_reason === 'the host went down';
        setText(this.reason, telling ? vm.state_reason : '');
        setHidden(this.reason, !(telling && vm.state_reason));
        this.console.href = `${address}/console`;
        this.console.setAttribute('aria-label', `Console of ${vm.name}`);
        setHidden(
            this.console,
            !this.session.can('console:view') || (vm.state !== 'running' && vm.state !== 'paused'),
        );
        this.buttons.show(vm);
        this.box?.setAttribute('aria-label', `Select ${vm.name}`);
        this.showPicked();
        this.showFigures();
    }

    #showLabels(labels) {
        const wanted = labels.join('\n');
        if (this.labels.dataset.shown === wanted) {
            return;
        }
        this.labels.dataset.shown = wanted;
        this.labels.textContent = '';
        for (const label of labels.slice(0, LABELS_SHOWN)) {
            this.labels.append(
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'label',
                        title: 'Show only machines with this label',
                        onclick: () => this.onLabel(label),
                    },
                    label,
                ),
            );
        }
        if (labels.length > LABELS_SHOWN) {
            this.labels.append(h('span', { class: 'help' }, `+${labels.length - LABELS_SHOWN}`));
        }
    }

    showPicked() {
        if (this.box) {
            this.box.checked = this.picked.has(this.id);
            this.root.classList.toggle('picked', this.box.checked);
        }
    }

    showFigures() {
        if (!this.full) {
            return;
        }
        const figures =
            this.vm.state === 'running' || this.vm.state === 'paused'
                ? this.herd.figures.of(this.id)
                : null;
        const absent = this.figures.classList.contains('absent');
        this.figures.classList.toggle('absent', !figures);
        if (!figures && absent) {
            return; /* as it was: most of a thousand are off */
        }
        const history = figures ? this.herd.figures.history(this.id) : { cpu: [], memory: [] };
        this.cpu.draw(history.cpu, 100 * this.vm.cpus);
        this.memory.draw(history.memory, this.vm.memory_mib * 1024 * 1024);
        this.figures.classList.toggle('old-figures', Boolean(figures?.stale));
        this.figures.title = figures?.stale ? `Old figures: ${figures.stale_reason ?? ''}` : '';
        setText(this.cpuText, percent(figures?.cpu?.usage_percent));
        setText(this.memoryText, bytes(figures?.memory?.resident_bytes));
    }

    remove() {
        if (this.root.contains(document.activeElement)) {
            const next = this.root.nextElementSibling ?? this.root.previousElementSibling;
            (next?.querySelector('.vm-name') ?? document.querySelector('h1 ~ a, main a'))?.focus();
        }
        this.root.remove();
    }
}

function meter(name, spark, text) {
    return h('div', { class: 'meter' }, h('span', { class: 'meter-name' }, name), spark.root, text);
}
