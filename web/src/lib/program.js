/*
 * One program in a guest over a WebSocket, subprotocol drover.exec.v1: its output as it comes.
 * Counts the bytes it has and acknowledges them, so that a connection that broke loses nothing.
 *
 * Signals: "output" (1 stdout | 2 stderr, Uint8Array), "gap" (1 | 2, bytes lost), "status" (words; empty
 * while connected), "exit" (how it ended, or a Problem in `problem`).
 */
import { Emitter } from './emitter.js';
import { get } from './api.js';
import { socketHere } from './place.js';
import { backoff } from './sse.js';

const PROTOCOL = 'drover.exec.v1';
const CLOSE_POLICY = 1008;
const ACK_BYTES = 32768;
const STREAMS = { stdout: 1, stderr: 2 };

export class Program extends Emitter {
    #path;
    #have = [0, 0, 0]; /* by stream; the first is unused */
    #acked = 0;
    #socket = null;
    #attempt = 0;
    #retry = null;
    #over = false;

    constructor(vmId, id) {
        super();
        this.#path = `/v1/vms/${encodeURIComponent(vmId)}/exec/${encodeURIComponent(id)}`;
    }

    connect() {
        const url = socketHere(`${this.#path}/stream`);
        url.searchParams.set('from', `${this.#have[1]},${this.#have[2]}`);
        const socket = new WebSocket(url, [PROTOCOL]);
        socket.binaryType = 'arraybuffer';
        socket.onopen = () => {
            this.#attempt = 0;
            this.emit('status', '');
        };
        socket.onmessage = ({ data }) => {
            if (typeof data === 'string') {
                this.#control(data);
            } else {
                this.#take(new Uint8Array(data));
            }
        };
        socket.onclose = (event) => {
            if (this.#socket === socket && !this.#over) {
                this.#socket = null;
                this.#onClose(event);
            }
        };
        this.#socket = socket;
    }

    /* The program goes on; nobody listens. */
    close() {
        this.#over = true;
        clearTimeout(this.#retry);
        this.#socket?.close();
    }

    send(text) {
        if (this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(new TextEncoder().encode(text));
        }
    }

    eof() {
        this.#tell({ type: 'eof' });
    }

    kill() {
        this.#tell({ type: 'kill' });
    }

    #tell(message) {
        if (this.#socket?.readyState === WebSocket.OPEN) {
            this.#socket.send(JSON.stringify(message));
        }
    }

    #take(frame) {
        const stream = frame[0];
        if (stream !== 1 && stream !== 2) {
            return;
        }
        this.#have[stream] += frame.length - 1;
        this.emit('output', stream, frame.subarray(1));
        const all = this.#have[1] + this.#have[2];
        if (all - this.#acked >= ACK_BYTES) {
            this.#acked = all;
            this.#tell({ type: 'ack', stdout: this.#have[1], stderr: this.#have[2] });
        }
    }

    #control(text) {
        let message;
        try {
            message = JSON.parse(text);
        } catch {
            return;
        }
        if (message?.type === 'gap') {
            const stream = STREAMS[message.stream] ?? message.stream;
            this.#have[stream] = message.to;
            this.emit('gap', stream, message.to - message.from);
        } else if (message?.type === 'exit') {
            this.#end(message);
        } else if (message?.type === 'error') {
            this.emit('status', message.detail ?? '');
        }
    }

    #end(end) {
        this.#over = true;
        this.emit('exit', end);
    }

    /* Why a socket was refused is only told to a plain request. */
    async #onClose(event) {
        if (event.code === CLOSE_POLICY) {
            this.#end({ problem: { title: event.reason || 'Somebody else reads its output now' } });
            return;
        }
        try {
            await get(this.#path);
        } catch (problem) {
            if (problem.status === 404) {
                this.#end({
                    problem: {
                        title: 'What became of it is not known',
                        detail: 'The daemon does not remember it any more.',
                        remedy: 'Look in the machine whether it still runs, then run it again.',
                    },
                });
                return;
            }
            if (problem.status === 401 || problem.status === 403) {
                this.#end({ problem });
                return;
            }
        }
        if (!this.#over) {
            this.emit('status', 'The connection is lost; trying again …');
            this.#retry = setTimeout(() => this.connect(), backoff(this.#attempt));
            this.#attempt += 1;
        }
    }
}
