/*
 * What the dashboard knows: the VMs, their last figures and the newest events. Built from lists
 * and kept by the event stream; pages only read it and listen.
 *
 * Signals: "list" (VMs came or went), "vm" (id), "figures", "event" (event), "loaded", "failed".
 */
import { Emitter } from './emitter.js';
import { get, isPassing, listAll } from './api.js';
import { Figures } from './figures.js';
import { backoff } from './sse.js';

const EVENTS_KEPT = 300;
const MOST_SINGLE = 24; /* reads at once; beyond, the whole list is the shorter way */
const CROWD_MS = 500;

export class Herd extends Emitter {
    vms = new Map();
    events = [];
    loaded = false;
    problem = null;
    #live;
    #stop = new AbortController();
    #finished = new Map(); /* operation id -> event, for answers that arrive after their event */
    #waiting = new Map();
    #fetching = new Map();
    #crowd = null;
    #retry = null;
    #tries = 0; /* in vain, one after the other */
    #gone = new Set(); /* ids; an answer that was on its way must not bring one back */

    constructor(live) {
        super();
        this.#live = live;
        const { signal } = this.#stop;
        this.figures = new Figures(signal);
        this.figures.on('change', () => this.emit('figures'), signal);
        live.on('open', (fresh) => fresh && this.reload(), signal);
        live.on('event', (event) => this.#onEvent(event), signal);
        live.on('problem', (problem) => !this.loaded && this.#fail(problem), signal);
    }

    /*
     * Calls fn for each event that matches, and where events may have been missed: a page that read its list
     * before the stream began would not hear of what came between.
     */
    follows(matches, fn, signal) {
        this.on('event', (event) => matches(event) && fn(), signal);
        this.#live.on('open', (fresh) => fresh && fn(), signal);
    }

    stop() {
        clearTimeout(this.#crowd);
        clearTimeout(this.#retry);
        this.#stop.abort();
    }

    byName(ref) {
        for (const vm of this.vms.values()) {
            if (vm.name === ref || vm.id === ref) {
                return vm;
            }
        }
        return null;
    }

    async reload() {
        clearTimeout(this.#retry);
        try {
            const before = new Set(this.vms.keys());
            const items = await listAll('/v1/vms?limit=1000', { signal: this.#stop.signal });
            const known = this.vms;
            this.vms = this.#merge(before, items);
            this.loaded = true;
            this.problem = null;
            this.#tries = 0;
            this.emit('list');
            this.emit('loaded');
            for (const [id, vm] of known) {
                if (isOther(vm, this.vms.get(id))) {
                    this.emit('vm', id); /* no event told of it: it was before the first one */
                }
            }
        } catch (error) {
            if (error.name !== 'AbortError') {
                this.#fail(error);
                if (isPassing(error)) {
                    this.#retry = setTimeout(() => this.reload(), backoff(this.#tries));
                    this.#tries += 1;
                }
            }
        }
    }

    #fail(problem) {
        this.problem = problem;
        this.emit('failed', problem);
    }

    /* What became known while the list was on its way is newer than the list. */
    #merge(before, items) {
        const merged = new Map();
        for (const vm of items) {
            const known = this.vms.get(vm.id);
            if (!this.#gone.has(vm.id)) {
                merged.set(vm.id, known?.updated_at > vm.updated_at ? known : vm);
            }
        }
        for (const [id, vm] of this.vms) {
            if (!before.has(id) && !merged.has(id)) {
                merged.set(id, vm);
            }
        }
        return merged;
    }

    /* A VM as a POST or GET just answered it; older than what is known: ignored. */
    put(vm) {
        const known = this.vms.get(vm.id);
        if (this.#gone.has(vm.id) || (known && known.updated_at > vm.updated_at)) {
            return;
        }
        this.vms.set(vm.id, vm);
        this.emit(known ? 'vm' : 'list', vm.id);
    }

    #onEvent(event) {
        this.events.unshift(event);
        this.events.length = Math.min(this.events.length, EVENTS_KEPT);
        const id = event.subject?.kind === 'vm' ? event.subject.id : null;
        if (event.type === 'operation.finished') {
            this.#finish(event);
        } else if (event.type === 'vm.deleted') {
            this.#gone.add(id);
            this.vms.delete(id);
            this.emit('list');
        } else if (id) {
            this.#onVmEvent(id, event);
        }
        this.emit('event', event);
    }

    #onVmEvent(id, event) {
        const vm = this.vms.get(id);
        if (vm && event.type === 'vm.state' && event.data?.state) {
            this.vms.set(id, {
                ...vm,
                state: event.data.state,
                state_reason: event.data.reason ?? '',
            });
            this.emit('vm', id);
            if (event.data.state === 'deleting') {
                return; /* there is nothing more to know of it */
            }
        }
        this.refresh(id);
    }

    /* Reads one VM again; events that come in a burst cost one or two reads, those of many one list. */
    refresh(id) {
        if (this.#fetching.size >= MOST_SINGLE && !this.#fetching.has(id)) {
            this.#reloadSoon();
            return;
        }
        if (this.#fetching.has(id)) {
            this.#fetching.set(id, true);
            return;
        }
        this.#fetching.set(id, false);
        get(`/v1/vms/${encodeURIComponent(id)}`, { signal: this.#stop.signal })
            .then(
                (vm) => {
                    this.put(vm);
                },
                (error) => {
                    if (error.status === 404 && this.vms.delete(id)) {
                        this.emit('list');
                    }
                },
            )
            .finally(() => {
                const again = this.#fetching.get(id);
                this.#fetching.delete(id);
                if (again) {
                    this.refresh(id);
                }
            });
    }

    #reloadSoon() {
        this.#crowd ??= setTimeout(() => {
            this.#crowd = null;
            this.reload();
        }, CROWD_MS);
    }

    /* Resolves with the finished operation; rejects when it cannot be read. */
    async operation(operation) {
        if (isFinished(operation)) {
            return operation;
        }
        if (!this.#finished.has(operation.id)) {
            const seen = new AbortController();
            await new Promise((resolve) => {
                this.#waiting.set(operation.id, resolve);
                this.#live.on('open', resolve, seen.signal); /* it may have ended unseen */
            });
            seen.abort();
            this.#waiting.delete(operation.id);
        }
        if (this.#finished.get(operation.id)?.data?.state === 'succeeded') {
            return { ...operation, state: 'succeeded', error: null };
        }
        const now = await get(`/v1/operations/${operation.id}`, { signal: this.#stop.signal });
        return isFinished(now) ? now : this.operation(now);
    }

    #finish(event) {
        const id = event.data?.operation_id;
        this.#finished.set(id, event);
        if (this.#finished.size > 200) {
            this.#finished.delete(this.#finished.keys().next().value);
        }
        this.#waiting.get(id)?.();
    }
}

function isOther(before, now) {
    return now && (now.updated_at !== before.updated_at || now.state !== before.state);
}

function isFinished(operation) {
    return !['pending', 'running'].includes(operation.state);
}
