/*
 * One console over a WebSocket, subprotocol drover.console.v1: binary frames are the guest's
 * bytes, text frames are JSON about them. Counts every byte, so that a new connection resumes
 * exactly where the last one broke off.
 *
 * Signals: "status" (connecting | live | waiting | ended, words), "bytes" (Uint8Array, replayed),
 * "gap" (bytes lost), "viewers" (number), "live" (what follows is new, not a repeat).
 */
import { Emitter } from '../lib/emitter.js';
import { UNREACHABLE, get } from '../lib/api.js';
import { backoff } from '../lib/sse.js';

const PROTOCOL = 'drover.console.v1';
const QUIET_MS = 250; /* a pause this long after connecting ends the repeat of old output */
const CLOSE_POLICY = 1008;
const OFF = 'the machine is off; the console goes on when it starts';

export class ConsoleStream extends Emitter {
    offset = null; /* of the next byte to come */
    viewers = 0;
    mode;
    status = 'connecting';
    #vm;
    #isOn;
    #socket = null;
    #replaying = true;
    #quiet = null;
    #retry = null;
    #attempt = 0;
    #closed = false;

    /* isOn(): whether the VM runs; while it is off there is nothing to try again for. */
    constructor(vmId, mode, isOn) {
        super();
        this.#vm = vmId;
        this.#isOn = isOn;
        this.mode = mode;
    }

    get open() {
        return this.#socket?.readyState === WebSocket.OPEN;
    }

    connect() {
        this.#drop();
        if (this.#closed) {
            return;
        }
        const url = new URL(`/v1/vms/${encodeURIComponent(this.#vm)}/console`, location.href);
        url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
        url.searchParams.set('mode', this.mode);
        if (this.offset !== null) {
            url.searchParams.set('from', String(this.offset));
        }
        this.#setStatus('connecting', 'Connecting …');
        const socket = new WebSocket(url, [PROTOCOL]);
        socket.binaryType = 'arraybuffer';
        let opened = false;
        socket.onopen = () => {
            opened = true;
            this.#attempt = 0;
            this.#beginReplay();
        };
        socket.onmessage = ({ data }) => {
            if (typeof data === 'string') {
                this.#control(data);
            } else {
                this.#take(new Uint8Array(data));
            }
        };
        socket.onclose = (event) => {
            if (this.#socket === socket) {
                this.#socket = null;
                this.#onClose(event, opened);
            }
        };
        this.#socket = socket;
    }

    /* The first connection: what a VM that is off printed before is shown, if anything is kept. */
    async begin() {
        const why = this.#isOn() ? null : await this.#whyRefused();
        if (why) {
            this.#setStatus('waiting', OFF);
        } else {
            this.connect();
        }
    }

    /* Ends for good. */
    close() {
        this.#closed = true;
        this.#drop();
        clearTimeout(this.#quiet);
    }

    /* Takes nothing until connect(): a WebSocket cannot be told to wait, but the ring can. */
    pause() {
        this.#drop();
        this.#setStatus('connecting', 'Catching up …');
    }

    setMode(mode) {
        this.mode = mode;
        this.connect();
    }

    /* Bytes for the guest. False: not connected or only watching, nothing was sent. */
    send(bytes) {
        if (this.mode !== 'control' || !this.open) {
            return false;
        }
        this.#socket.send(bytes);
        return true;
    }

    #drop() {
        clearTimeout(this.#retry);
        const socket = this.#socket;
        this.#socket = null;
        socket?.close();
    }

    #control(text) {
        let message;
        try {
            message = JSON.parse(text);
        } catch {
            return;
        }
        if (message.type === 'hello') {
            this.offset = message.offset;
            this.mode = message.mode;
            this.#setViewers(message.viewers);
            this.#setStatus('live', '');
        } else if (message.type === 'gap') {
            this.offset = message.to;
            this.emit('gap', message.to - message.from);
        } else if (message.type === 'viewers') {
            this.#setViewers(message.viewers ?? message.count);
        }
    }

    #setViewers(count) {
        if (typeof count === 'number') {
            this.viewers = count;
            this.emit('viewers', count);
        }
    }

    #take(bytes) {
        this.offset = (this.offset ?? 0) + bytes.length;
        this.emit('bytes', bytes, this.#replaying);
        if (this.#replaying) {
            this.#armQuiet();
        }
    }

    #beginReplay() {
        this.#replaying = true;
        this.#armQuiet();
    }

    #armQuiet() {
        clearTimeout(this.#quiet);
        this.#quiet = setTimeout(() => this.#endReplay(), QUIET_MS);
    }

    #endReplay() {
        clearTimeout(this.#quiet);
        if (this.#replaying) {
            this.#replaying = false;
            this.emit('live');
        }
    }

    async #onClose(event, opened) {
        if (event.code === CLOSE_POLICY) {
            this.#setStatus('ended', event.reason || 'Your right to this console was withdrawn.');
            return;
        }
        const why = opened ? event.reason : await this.#whyRefused();
        if (this.#closed || this.#socket) {
            return;
        }
        if (!this.#isOn()) {
            this.#setStatus('waiting', OFF);
            return;
        }
        const wait = backoff(this.#attempt);
        this.#attempt += 1;
        this.#setStatus('waiting', why || 'Connection lost. Trying again …');
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.connect(), wait);
    }

    /* A browser does not show why an upgrade was refused; the same right and state guard the log. */
    async #whyRefused() {
        try {
            await get(
                `/v1/vms/${encodeURIComponent(this.#vm)}/console/log?from=${this.offset ?? 0}`,
            );
            return '';
        } catch (problem) {
            return (problem.code !== UNREACHABLE && problem.detail) || problem.title;
        }
    }

    #setStatus(status, words) {
        this.status = status;
        this.emit('status', status, words);
    }
}
