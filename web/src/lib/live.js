/* Follows GET /v1/events: resumes after the last seq it saw, reconnects with jitter, never gives up. */
import { Emitter } from './emitter.js';
import { follow } from './follow.js';
import { backoff } from './sse.js';

/*
 * Signals: "status" (connecting | live | lost), "open" (true when events may have been missed),
 * "event" (one event), "refused" (a Problem: the session ended), "problem" (one that may pass).
 */
export class Live extends Emitter {
    status = 'connecting';
    #seq = null;
    #stop = new AbortController();
    #wake = () => {};

    start() {
        this.#run();
        addEventListener('online', () => this.#wake(), { signal: this.#stop.signal });
        document.addEventListener('visibilitychange', () => this.#wake(), {
            signal: this.#stop.signal,
        });
    }

    /* Tries at once instead of waiting. */
    wake() {
        this.#wake();
    }

    stop() {
        this.#stop.abort();
        this.#wake();
    }

    async #run() {
        let attempt = 0;
        while (!this.#stop.signal.aborted) {
            const outcome = await this.#follow(() => {
                attempt = 0;
            });
            if (this.#stop.signal.aborted || outcome === 'refused') {
                return;
            }
            this.#setStatus('lost');
            await this.#pause(backoff(attempt));
            attempt += 1;
        }
    }

    async #follow(onOpen) {
        const problem = await follow('/v1/events', {
            headers: this.#seq === null ? {} : { 'Last-Event-ID': String(this.#seq) },
            signal: this.#stop.signal,
            onOpen: () => {
                onOpen();
                this.#setStatus('live');
                this.emit('open', this.#seq === null);
            },
            onMessage: (message) => this.#take(message),
        });
        if (problem?.status === 401) {
            this.emit('refused', problem);
            return 'refused';
        }
        if (problem) {
            this.emit('problem', problem);
        }
        return 'lost';
    }

    #take({ data }) {
        let event;
        try {
            event = JSON.parse(data);
        } catch {
            return;
        }
        if (event.type === 'resync') {
            this.#seq = null; /* what came between is gone: start over from a fresh list */
            return;
        }
        if (typeof event.seq === 'number') {
            if (this.#seq !== null && event.seq <= this.#seq) {
                return;
            }
            this.#seq = event.seq;
        }
        this.emit('event', event);
    }

    #setStatus(status) {
        if (this.status !== status) {
            this.status = status;
            this.emit('status', status);
        }
    }

    #pause(ms) {
        return new Promise((resolve) => {
            const timer = setTimeout(resolve, ms);
            this.#wake = () => {
                clearTimeout(timer);
                resolve();
            };
        });
    }
}
