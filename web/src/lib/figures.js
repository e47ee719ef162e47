/*
 * The last sample of every VM and of the host, from the event-stream form of GET /v1/stats: one
 * connection for all pages, and only while somebody looks (a page holds a claim, the tab is visible).
 *
 * Signals: "change".
 */
import { Emitter } from './emitter.js';
import { get } from './api.js';
import { follow } from './follow.js';
import { backoff } from './sse.js';

export const HISTORY = 60;
const LINGER_MS = 2000; /* the next page wants it, too, and comes soon */
const GAP = 3; /* times the rhythm of the samples */

export class Figures extends Emitter {
    host = null; /* of the last tick: total_bytes, available_bytes, ksm_saved_bytes, ksmd_cpu_percent */
    at = null; /* when that was sampled, in milliseconds since 1970 */
    #last = new Map(); /* vm id -> sample */
    #history = new Map(); /* vm id -> {cpu: [], memory: []} */
    #reasons = new Map(); /* vm id -> why its figures are old */
    #claims = 0;
    #open = null; /* AbortController of the stream */
    #close = null;
    #rhythm = null;
    #parts = [];

    constructor(signal) {
        super();
        this.signal = signal;
        document.addEventListener('visibilitychange', () => this.#arrange(), { signal });
        signal.addEventListener('abort', () => this.#arrange());
    }

    /* Followed until the page's signal fires. */
    claim(signal) {
        this.#claims += 1;
        signal.addEventListener('abort', () => {
            this.#claims -= 1;
            this.#arrange();
        });
        this.#arrange();
    }

    of(id) {
        return this.#last.get(id) ?? null;
    }

    all() {
        return [...this.#last.values()];
    }

    history(id) {
        return this.#history.get(id) ?? { cpu: [], memory: [] };
    }

    #arrange() {
        clearTimeout(this.#close);
        const over = this.signal.aborted || document.visibilityState !== 'visible';
        if (over) {
            this.#open?.abort();
        } else if (this.#claims === 0) {
            this.#close = setTimeout(() => this.#open?.abort(), LINGER_MS);
        } else if (!this.#open || this.#open.signal.aborted) {
            this.#open = new AbortController();
            this.#run(this.#open.signal);
        }
    }

    async #run(signal) {
        for (let attempt = 0; !signal.aborted; attempt += 1) {
            await follow('/v1/stats', {
                signal,
                onOpen: () => {
                    attempt = 0;
                    this.#parts = [];
                },
                onMessage: ({ data }) => !signal.aborted && this.#gather(JSON.parse(data)),
            });
            if (!signal.aborted) {
                await pause(backoff(attempt), signal);
            }
        }
    }

    #gather(tick) {
        if (this.#parts.some((part) => part.tick !== tick.tick)) {
            this.#parts = [];
        }
        this.#parts.push(tick);
        if (this.#parts.length === tick.parts) {
            this.#take(tick, this.#parts.flatMap((part) => part.items));
            this.#parts = [];
        }
    }

    #take({ sampled_at: sampledAt, host }, items) {
        const at = Date.parse(sampledAt);
        const passed = this.at === null ? 0 : at - this.at;
        const gap = this.#rhythm && passed > GAP * this.#rhythm; /* nobody looked: the curve shows it */
        this.#rhythm = passed > 0 ? passed : this.#rhythm;
        this.at = at;
        this.host = host;
        const before = this.#last;
        this.#last = new Map(items.map((item) => [item.vm_id, this.#sample(item, sampledAt)]));
        for (const [id, sample] of this.#last) {
            const history = this.history(id);
            this.#history.set(id, history);
            if (gap) {
                push(history.cpu, null);
                push(history.memory, null);
            }
            push(history.cpu, sample.stale ? null : (sample.cpu.usage_percent ?? null));
            push(history.memory, sample.stale ? null : (sample.memory.resident_bytes ?? null));
        }
        for (const id of before.keys()) {
            if (!this.#last.has(id)) {
                this.#history.delete(id); /* one that stopped starts with an empty curve next time */
            }
        }
        this.#learnReasons();
        this.emit('change');
    }

    /* In the words of VmStats, as far as the stream tells. */
    #sample(item, sampledAt) {
        return {
            vm_id: item.vm_id,
            sampled_at: sampledAt,
            stale: item.stale,
            stale_reason: item.stale ? this.#reasons.get(item.vm_id) : undefined,
            cpu: { usage_percent: item.cpu_percent },
            memory: { promised_bytes: item.promised_bytes, resident_bytes: item.resident_bytes },
            rates: item,
            ksm: {
                merging_bytes: item.ksm_merging_bytes,
                saved_bytes: item.ksm_saved_bytes,
                cause: item.ksm_cause,
            },
        };
    }

    /* Why figures are old is told by the whole samples only. */
    #learnReasons() {
        const old = this.all().filter((sample) => sample.stale);
        for (const id of [...this.#reasons.keys()]) {
            if (!this.#last.get(id)?.stale) {
                this.#reasons.delete(id);
            }
        }
        const news = old.filter((sample) => !this.#reasons.has(sample.vm_id));
        if (news.length === 0) {
            return;
        }
        news.forEach((sample) => this.#reasons.set(sample.vm_id, ''));
        get('/v1/stats', { signal: this.signal }).then(
            ({ items }) => {
                for (const { vm_id: id, stale_reason: reason } of items) {
                    if (this.#reasons.has(id)) {
                        this.#reasons.set(id, reason ?? '');
                        Object.assign(this.#last.get(id) ?? {}, { stale_reason: reason });
                    }
                }
                this.emit('change');
            },
            () => {},
        );
    }
}

function pause(ms, signal) {
    return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener('abort', () => {
            clearTimeout(timer);
            resolve();
        });
    });
}

function push(list, value) {
    list.push(value);
    if (list.length > HISTORY) {
        list.shift();
    }
}
