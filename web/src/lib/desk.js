/*
 * The consoles that are open. They belong to the session, not to a page: they go on while the
 * reader is elsewhere, and whichever page shows one borrows its element.
 *
 * Signals: "change" (one was opened or closed, or its state changed).
 */
import { Emitter } from './emitter.js';
import { h, replace } from './dom.js';
import { problemBody } from './notify.js';
import { streamTitle } from './streams.js';

const MOST_OPEN = 24;
const HAS_CONSOLE = ['running', 'paused', 'stopping'];

export class Desk extends Emitter {
    #entries = new Map(); /* "vm id stream" -> entry, the one used last at the end */
    #layouts = new Map(); /* vm id -> {shown, beside} */
    #herd;
    #session;
    #recorder;

    constructor({ herd, session, recorder, signal }) {
        super();
        this.#herd = herd;
        this.#session = session;
        this.#recorder = recorder;
        recorder.on('change', () => this.emit('change'), signal);
        herd.on('vm', (id) => this.#wake(id), signal);
        herd.on('list', () => this.#closeDeleted(), signal);
        signal.addEventListener('abort', () => {
            for (const entry of [...this.#entries.values()]) {
                this.close(entry);
            }
        });
    }

    get entries() {
        return [...this.#entries.values()];
    }

    of(vmId) {
        return this.entries.filter((entry) => entry.vmId === vmId);
    }

    find(vmId, stream) {
        return this.#entries.get(`${vmId} ${stream}`) ?? null;
    }

    /* What was shown of a VM when its page was left. */
    layout(vmId) {
        const known = this.#layouts.get(vmId) ?? { shown: null, beside: false };
        this.#layouts.set(vmId, known);
        return known;
    }

    isRecorded(entry) {
        return Boolean(this.#recorder.of(entry.vmId, entry.stream));
    }

    open(vm, stream) {
        const key = `${vm.id} ${stream}`;
        const entry = this.#entries.get(key) ?? new Entry(key, vm, stream);
        this.#entries.delete(key);
        this.#entries.set(key, entry);
        if (!entry.loading) {
            entry.loading = this.#load(entry);
            this.#makeRoom();
            this.emit('change');
        }
        return entry;
    }

    close(entry) {
        if (this.#entries.delete(entry.key)) {
            entry.stop.abort();
            entry.root.remove();
            this.emit('change');
        }
    }

    async #load(entry) {
        const { vmId, stream } = entry;
        const { signal } = entry.stop;
        const vm = () => this.#herd.vms.get(vmId) ?? entry.vm;
        try {
            const { openPane } = await import('../console/open.js');
            const pane = await openPane({
                vm,
                stream,
                herd: this.#herd,
                session: this.#session,
                recorder: this.#recorder,
                isOn: () => HAS_CONSOLE.includes(vm().state),
                onClose: () => this.close(entry),
                signal,
            });
            if (signal.aborted) {
                return;
            }
            entry.pane = pane;
            replace(entry.root, pane.root);
            entry.attached();
            this.emit('change');
        } catch (problem) {
            entry.loading = null;
            replace(entry.root, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
        }
    }

    /* The longest unused that no page shows. */
    #makeRoom() {
        while (this.#entries.size > MOST_OPEN) {
            const idle = this.entries.find((entry) => !entry.root.isConnected);
            if (!idle) {
                return;
            }
            this.close(idle);
        }
    }

    #wake(id) {
        for (const entry of this.of(id)) {
            entry.pane?.wake();
        }
    }

    #closeDeleted() {
        for (const entry of this.entries) {
            if (this.#herd.loaded && !this.#herd.vms.has(entry.vmId)) {
                this.close(entry);
            }
        }
    }
}

class Entry {
    pane = null;
    loading = null;
    wantsFocus = false;
    stop = new AbortController();

    constructor(key, vm, stream) {
        this.key = key;
        this.vm = vm;
        this.vmId = vm.id;
        this.stream = stream;
        this.root = h(
            'div',
            { class: 'pane', 'data-stream': stream },
            h('p', { class: 'panel' }, `Loading: ${streamTitle(stream)} …`),
        );
    }

    /* To be called when a page has put the element in the document. */
    attached() {
        if (this.pane && this.root.isConnected) {
            this.pane.start();
            if (this.wantsFocus) {
                this.wantsFocus = false;
                this.pane.focus();
            }
        }
    }

    focus() {
        this.wantsFocus = true;
        this.attached();
    }
}
