/* Reads one event stream of the API until it ends. Who calls tries again. */
import { toProblem } from './api.js';
import { here } from './place.js';
import { EventParser } from './sse.js';

const SILENCE_MS = 60000; /* the daemon sends something much more often than this */

/*
 * Answers null when the stream was lost, a Problem when it was refused; onOpen and onMessage are called
 * in between. `signal` ends it.
 */
export async function follow(path, { headers, signal, onOpen, onMessage }) {
    const silence = new AbortController();
    const end = () => silence.abort();
    signal.addEventListener('abort', end);
    let timer = setTimeout(end, SILENCE_MS);
    try {
        const response = await fetch(here(path), {
            headers: { Accept: 'text/event-stream', ...headers },
            signal: silence.signal,
            cache: 'no-store',
        });
        if (!response.ok) {
            return toProblem(response, await response.json().catch(() => undefined));
        }
        onOpen();
        const parser = new EventParser(onMessage);
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
            const { value, done } = await reader.read();
            if (done) {
                return null;
            }
            clearTimeout(timer);
            timer = setTimeout(end, SILENCE_MS);
            parser.feed(value);
        }
    } catch {
        return null;
    } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        silence.abort();
    }
}
