/*
 * One stream over a WebSocket, subprotocol drover.console.v1: binary frames are the guest's bytes,
 * text frames are JSON about them. Counts every byte, so that a new connection resumes exactly
 * where the last one broke off.
 *
 * Signals: "status" (connecting | live | waiting | ended, words), "bytes" (Uint8Array, replayed),
 * "gap" (bytes lost, reason), "live" (what follows is new, not a repeat), "presence" (who is here or
 * who holds it changed), "size" (rows, cols), "eof" (the guest sends nothing more), "refusal" (code,
 * words).
 */
import { Emitter } from '../lib/emitter.js';
import { UNREACHABLE, get, request } from '../lib/api.js';
import { socketHere } from '../lib/place.js';
import { backoff } from '../lib/sse.js';
import { isPipe, logPath, streamPath } from '../lib/streams.js';

const PROTOCOL = 'drover.console.v1';
const CLOSE_POLICY = 1008;
const OFF = 'the machine is off; the console goes on when it starts';

export class ConsoleStream extends Emitter {
    offset = null; /* of the next byte to come */
    status = 'connecting';
    mode;
    me = null; /* this connection's id among the viewers */
    holder = null;
    exclusive = false;
    requests = []; /* ids, who has asked longest first */
    viewers = []; /* {id, name, mode, protocol, holder} */
    count = 0; /* may be more than are listed */
    recording = false;
    rows = null;
    cols = null;
    #vm;
    #isOn;
    #ticket;
    #oneUse;
    #socket = null;
    #replayUntil = 0;
    #replaying = true;
    #retry = null;
    #attempt = 0;
    #closed = false;

    /*
     * isOn(): whether the VM runs; while it is off there is nothing to try again for.
     * ticket: a share link's secret instead of a session; oneUse: it is worth one connection.
     */
    constructor({ vmId, stream, mode, isOn, ticket = null, oneUse = false }) {
        super();
        this.#vm = vmId;
        this.#isOn = isOn;
        this.#ticket = ticket;
        this.#oneUse = oneUse;
        this.name = stream;
        this.pipe = isPipe(stream);
        this.mode = mode;
    }

    get open() {
        return this.#socket?.readyState === WebSocket.OPEN;
    }

    get holds() {
        return this.me !== null && this.holder === this.me;
    }

    /* Whether typed bytes are for the guest: nobody's keyboard becomes that of who types. */
    get mayType() {
        const free = this.pipe || this.holder === null || this.holds;
        return this.status === 'live' && this.mode === 'control' && free;
    }

    viewer(id) {
        return this.viewers.find((v) => v.id === id) ?? null;
    }

    connect() {
        this.#drop();
        if (this.#closed) {
            return;
        }
        const url = socketHere(streamPath(this.#vm, this.name));
        url.searchParams.set('mode', this.mode);
        if (this.offset !== null && !this.pipe) {
            url.searchParams.set('from', String(this.offset));
        }
        if (this.#ticket) {
            url.searchParams.set('ticket', this.#ticket);
        }
        this.#setStatus('connecting', 'Connecting …');
        const socket = new WebSocket(url, [PROTOCOL]);
        socket.binaryType = 'arraybuffer';
        let opened = false;
        socket.onopen = () => {
            opened = true;
            this.#attempt = 0;
        };
        socket.onmessage = ({ data }) => {
            if (this.#socket !== socket) {
                return;
            }
            if (typeof data === 'string') {
                this.#control(data);
            } else {
                this.#take(new Uint8Array(data));
            }
        };
        socket.onclose = (event) => {
            if (this.#socket === socket) {
                this.#socket = null;
                this.#forgetPresence();
                this.#onClose(event, opened);
            }
        };
        this.#socket = socket;
    }

    /* The first connection: what a VM that is off printed before is shown, if anything is kept. */
    async begin() {
        const off = !this.#ticket && !this.#isOn();
        const why = off ? this.pipe || (await this.#whyRefused()) : null;
        if (this.#closed || this.#socket) {
            return;
        }
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

    /* Bytes for the guest. False: not connected or not the one who types, nothing was sent. */
    send(bytes) {
        if (!this.mayType || !this.open) {
            return false;
        }
        this.#socket.send(bytes);
        return true;
    }

    ask() {
        this.#tell({ type: 'request-control' });
    }

    grant(id) {
        this.#tell({ type: 'grant-control', to: id });
    }

    /* Also takes back one's own request. */
    release() {
        this.#tell({ type: 'release-control' });
    }

    take(exclusive = false) {
        this.#tell({ type: 'take-control', exclusive });
    }

    tellSize(rows, cols) {
        this.#tell({ type: 'size', rows, cols });
    }

    /* Nothing more is sent to the guest; what it says still comes. */
    finish() {
        this.#tell({ type: 'eof' });
    }

    #tell(message) {
        if (this.open) {
            this.#socket.send(JSON.stringify(message));
        }
    }

    #drop() {
        clearTimeout(this.#retry);
        const socket = this.#socket;
        this.#socket = null;
        socket?.close();
        this.#forgetPresence();
    }

    #forgetPresence() {
        this.me = null;
        this.holder = null;
        this.requests = [];
        this.viewers = [];
        this.count = 0;
    }

    #control(text) {
        let message;
        try {
            message = JSON.parse(text);
        } catch {
            return;
        }
        switch (message?.type) {
            case 'hello':
                this.#hello(message);
                break;
            case 'gap':
                this.offset = message.to;
                this.emit('gap', message.to - message.from, message.reason);
                this.#endReplay();
                break;
            case 'viewers':
                this.viewers = Array.isArray(message.viewers) ? message.viewers : [];
                this.count = message.count ?? this.viewers.length;
                this.recording = Boolean(message.recording);
                this.emit('presence');
                break;
            case 'control':
                this.holder = message.holder ?? null;
                this.exclusive = Boolean(message.exclusive);
                this.requests = message.requests ?? [];
                this.emit('presence');
                break;
            case 'size':
                this.#setSize(message);
                break;
            case 'eof':
                this.emit('eof');
                break;
            case 'error':
                this.emit('refusal', message.code, message.detail);
                break;
            default: /* of a newer daemon */
        }
    }

    #hello(message) {
        this.me = message.id ?? null;
        this.mode = message.mode ?? this.mode;
        this.holder = message.holder ?? null;
        this.exclusive = Boolean(message.exclusive);
        this.count = message.viewers ?? 1;
        this.recording = Boolean(message.recording);
        if (!this.pipe) {
            this.offset = message.offset;
            this.#replayUntil = message.next;
            this.#replaying = true;
            this.#setSize(message);
        }
        this.#setStatus('live', '');
        this.emit('presence');
        this.#endReplay();
    }

    #setSize({ rows, cols }) {
        if (rows && cols) {
            this.rows = rows;
            this.cols = cols;
            this.emit('size', rows, cols);
        }
    }

    /* hello says where the past ends; a frame may hold the end of it and the beginning of now. */
    #take(bytes) {
        if (this.pipe) {
            this.emit('bytes', bytes, false);
            return;
        }
        const old = Math.min(bytes.length, Math.max(0, this.#replayUntil - this.offset));
        this.offset += bytes.length;
        if (old > 0) {
            this.emit('bytes', bytes.subarray(0, old), true);
        }
        this.#endReplay();
        if (old < bytes.length) {
            this.emit('bytes', bytes.subarray(old), false);
        }
    }

    #endReplay() {
        if (this.#replaying && (this.pipe || this.offset >= this.#replayUntil)) {
            this.#replaying = false;
            this.emit('live');
        }
    }

    async #onClose(event, opened) {
        if (event.code === CLOSE_POLICY) {
            this.#setStatus('ended', event.reason || 'Your right to this console was withdrawn.');
            return;
        }
        if (this.#ticket) {
            await this.#onSharedClose(event, opened);
            return;
        }
        const why = opened ? event.reason : await this.#whyRefused();
        if (this.#closed || this.#socket) {
            return;
        }
        if (!this.#isOn()) {
            this.#setStatus('waiting', OFF);
        } else if (this.pipe) {
            this.#setStatus('ended', why || 'the connection ended');
        } else {
            this.#retryLater(why || 'Connection lost. Trying again …');
        }
    }

    async #onSharedClose(event, opened) {
        if (this.#oneUse && opened) {
            this.#setStatus(
                'ended',
                `${event.reason || 'the connection ended'}. This link was good for one use; ask for a new one.`,
            );
            return;
        }
        const why = await this.#whyTicket();
        if (this.#closed || this.#socket) {
            return;
        }
        if (why.final || (this.pipe && opened)) {
            this.#setStatus('ended', why.words || event.reason || 'the connection ended');
        } else {
            this.#retryLater(event.reason || 'The machine does not answer. Trying again …');
        }
    }

    #retryLater(words) {
        const wait = backoff(this.#attempt);
        this.#attempt += 1;
        this.#setStatus('waiting', words);
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.connect(), wait);
    }

    /* A browser does not show why an upgrade was refused; the same right and state guard the log. */
    async #whyRefused() {
        if (this.pipe) {
            return this.#isOn() ? 'nobody in the machine answers there' : OFF;
        }
        try {
            const path = logPath(this.#vm, this.name);
            await get(`${path}${path.includes('?') ? '&' : '?'}from=${this.offset ?? 0}`);
            return '';
        } catch (problem) {
            return (problem.code !== UNREACHABLE && problem.detail) || problem.title;
        }
    }

    async #whyTicket() {
        try {
            const body = { ticket: this.#ticket };
            await request('POST', '/v1/tickets/lookup', { body, quiet401: true });
            return { final: false, words: '' };
        } catch (problem) {
            const words = [problem.detail || problem.title, problem.remedy].join(' ').trim();
            return { final: problem.code !== UNREACHABLE && problem.status < 500, words };
        }
    }

    #setStatus(status, words) {
        this.status = status;
        this.emit('status', status, words);
    }
}
