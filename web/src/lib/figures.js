/*
 * The last samples of every VM, read from GET /v1/stats in the daemon's own rhythm, and only
 * while somebody looks: a page must hold a claim and the tab must be visible.
 */
import { Emitter } from './emitter.js';
import { get } from './api.js';

export const HISTORY = 60;
const FASTEST_MS = 1000;
const SLOWEST_MS = 15000;

export class Figures extends Emitter {
    #last = new Map(); /* vm id -> sample */
    #history = new Map(); /* vm id -> {cpu: [], memory: []} */
    #claims = 0;
    #timer = null;
    #busy = false;
    #sampledAt = null;
    #interval = FASTEST_MS;

    constructor(signal) {
        super();
        this.signal = signal;
        document.addEventListener('visibilitychange', () => this.#schedule(0), { signal });
        signal.addEventListener('abort', () => clearTimeout(this.#timer));
    }

    /* Reads until the page's signal fires. */
    claim(signal) {
        this.#claims += 1;
        signal.addEventListener('abort', () => {
            this.#claims -= 1;
        });
        this.#schedule(0);
    }

    of(id) {
        return this.#last.get(id) ?? null;
    }

    history(id) {
        return this.#history.get(id) ?? { cpu: [], memory: [] };
    }

    /* A VM that stopped starts with an empty curve next time. */
    forget(id) {
        this.#last.delete(id);
        this.#history.delete(id);
    }

    #schedule(ms) {
        clearTimeout(this.#timer);
        if (this.#claims > 0 && document.visibilityState === 'visible' && !this.signal.aborted) {
            this.#timer = setTimeout(() => this.#read(), ms);
        }
    }

    async #read() {
        if (this.#busy) {
            return;
        }
        this.#busy = true;
        try {
            this.#take(await get('/v1/stats', { signal: this.signal }));
        } catch {
            this.#interval = Math.min(SLOWEST_MS, this.#interval * 2);
        } finally {
            this.#busy = false;
            this.#schedule(this.#interval);
        }
    }

    #take({ sampled_at: sampledAt, items }) {
        if (sampledAt === this.#sampledAt) {
            return;
        }
        const passed = new Date(sampledAt) - new Date(this.#sampledAt ?? sampledAt);
        const gap = passed > 6 * this.#interval; /* nobody looked for a while: the curve shows it */
        if (passed > 0) {
            /* twice as often as samples came: a read that finds nothing new is cheap */
            this.#interval = Math.max(
                FASTEST_MS,
                Math.min(SLOWEST_MS, passed / 2, this.#interval * 2),
            );
        }
        this.#sampledAt = sampledAt;
        const seen = new Set();
        for (const sample of items) {
            seen.add(sample.vm_id);
            this.#last.set(sample.vm_id, sample);
            const history = this.history(sample.vm_id);
            this.#history.set(sample.vm_id, history);
            if (gap) {
                push(history.cpu, null);
                push(history.memory, null);
            }
            push(history.cpu, sample.stale ? null : (sample.cpu?.usage_percent ?? null));
            push(history.memory, sample.stale ? null : (sample.memory?.resident_bytes ?? null));
        }
        for (const id of [...this.#last.keys()]) {
            if (!seen.has(id)) {
                this.forget(id);
            }
        }
        this.emit('change');
    }
}

function push(list, value) {
    list.push(value);
    if (list.length > HISTORY) {
        list.shift();
    }
}
