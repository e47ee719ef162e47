/*
 * Server-sent events over fetch. EventSource would hide the status of a refused stream (a session
 * that ended looks like a network that is down) and retries without jitter.
 */

/* Feeds text, calls onMessage({id, data}) for each complete block. Pure. */
export class EventParser {
    #rest = '';
    #id = null;
    #data = [];

    constructor(onMessage) {
        this.onMessage = onMessage;
    }

    feed(text) {
        const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
        this.#rest = lines.pop();
        for (const line of lines) {
            this.#line(line);
        }
    }

    #line(line) {
        if (line === '') {
            if (this.#data.length > 0) {
                this.onMessage({ id: this.#id, data: this.#data.join('\n') });
            }
            this.#data = [];
            return;
        }
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (field === 'data') {
            this.#data.push(value);
        } else if (field === 'id') {
            this.#id = value;
        }
    }
}

/* 0.5 s, 1 s, 2 s … 15 s, each between half and all of it, so that browsers do not come in step. */
export function backoff(attempt) {
    const ceiling = Math.min(15000, 500 * 2 ** attempt);
    return ceiling / 2 + Math.random() * (ceiling / 2);
}
