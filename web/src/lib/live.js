/* Follows GET /v1/events: resumes after the last seq it saw, reconnects with jitter, never gives up. */
import { Emitter } from './emitter.js';
import { toProblem } from './api.js';
import { here } from './place.js';
import { EventParser, backoff } from './sse.js';

const SILENCE_MS = 60000; /* the daemon sends keep-alives much more often than this */

/*
 * Signals: "status" (connecting | live | lost), "open" (true when events may have been missed),
 * "event" (one event), "refused" (a Problem: the session ended).
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
        const silence = new AbortController();
        const end = () => silence.abort();
        this.#stop.signal.addEventListener('abort', end);
        let timer = setTimeout(end, SILENCE_MS);
        try {
            const headers = { Accept: 'text/event-stream' };
            if (this.#seq !== null) {
                headers['Last-Event-ID'] = String(this.#seq);
            }
            const response = await fetch(here('/v1/events'), {
                headers,
                signal: silence.signal,
                cache: 'no-store',
            });
            if (!response.ok) {
                const body = await response.json().catch(() => undefined);
                if (response.status === 401) {
                    this.emit('refused', toProblem(response, body));
                    return 'refused';
                }
                return 'lost';
            }
            onOpen();
            this.#setStatus('live');
            this.emit('open', this.#seq === null);
            const parser = new EventParser((message) => this.#take(message));
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            for (;;) {
                const { value, done } = await reader.read();
                if (done) {
                    return 'lost';
                }
                clearTimeout(timer);
                timer = setTimeout(end, SILENCE_MS);
                parser.feed(value);
            }
        } catch {
            return 'lost';
        } finally {
            clearTimeout(timer);
            this.#stop.signal.removeEventListener('abort', end);
            silence.abort();
        }
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
