/*
 * Machines at a glance: what each one's console printed last, or what its screen shows. Read from the
 * daemon's memory of the console and never over a socket: a look is no viewer, takes nobody's
 * keyboard and counts against no quota. Only what is on the screen is read, a few at a time.
 */
import { h, setHidden, setText } from './dom.js';
import { ABSENT } from './format.js';
import { here } from './place.js';
import { logPath } from './streams.js';

const TAIL_BYTES = 4096;
const LINES = 14;
const COLUMNS = 100;
const TEXT_MS = 2000;
const PICTURE_MS = 6000;
const AT_ONCE = 4;
const FAR =
    Number.MAX_SAFE_INTEGER; /* beyond the end: an empty answer that says where the end is */

/* open(vm, stream): the reader wants the console itself. */
export function consoleWall({ open, signal }) {
    const root = h('ul', { class: 'thumbs' });
    const thumbs = new Map();
    const inSight = new Set();
    let busy = 0;
    const watcher = new IntersectionObserver(
        (entries) => {
            for (const { target, isIntersecting } of entries) {
                const thumb = thumbs.get(target.dataset.id);
                inSight[isIntersecting ? 'add' : 'delete'](thumb);
            }
            pump();
        },
        { rootMargin: '100px' },
    );

    function show(vms) {
        const wanted = new Set(vms.map((vm) => vm.id));
        for (const [id, thumb] of thumbs) {
            if (!wanted.has(id)) {
                watcher.unobserve(thumb.root);
                inSight.delete(thumb);
                thumb.stop();
                thumbs.delete(id);
            }
        }
        vms.forEach((vm, index) => {
            let thumb = thumbs.get(vm.id);
            if (!thumb) {
                thumb = new Thumb(vm, open, signal);
                thumbs.set(vm.id, thumb);
                watcher.observe(thumb.root);
            }
            thumb.show(vm);
            if (root.children[index] !== thumb.root) {
                root.insertBefore(thumb.root, root.children[index] ?? null);
            }
        });
    }

    /* Those that were not looked at for the longest time first. */
    function pump() {
        if (document.hidden || signal.aborted) {
            return;
        }
        const now = Date.now();
        const due = [...inSight].filter((thumb) => thumb && !thumb.reading && thumb.due <= now);
        due.sort((a, b) => a.due - b.due);
        for (const thumb of due.slice(0, Math.max(0, AT_ONCE - busy))) {
            busy += 1;
            thumb.read().finally(() => {
                busy -= 1;
                pump();
            });
        }
    }

    const timer = setInterval(pump, 500);
    signal.addEventListener('abort', () => {
        clearInterval(timer);
        watcher.disconnect();
        thumbs.forEach((thumb) => thumb.stop());
    });
    return { root, show };
}

class Thumb {
    due = 0;
    reading = false;
    #next = null;
    #text = '';
    #pictured = false;

    constructor(vm, open, signal) {
        this.vm = vm;
        this.signal = signal;
        this.screen = h('pre', { class: 'thumb-screen', 'aria-hidden': 'true' });
        this.picture = h('img', { class: 'thumb-picture', alt: '', hidden: true });
        this.said = h('span', { class: 'help' });
        /* Its press is good for the whole card: see the style sheet. */
        this.button = h('button', {
            type: 'button',
            class: 'thumb-name',
            onclick: () => open(this.vm, this.picture.hidden ? 'console' : 'display'),
        });
        this.root = h(
            'li',
            { class: 'thumb', 'data-id': vm.id },
            this.screen,
            this.picture,
            h('div', { class: 'thumb-foot' }, this.button, this.said),
        );
    }

    show(vm) {
        this.vm = vm;
        setText(this.button, vm.name);
        this.button.setAttribute('aria-label', `Open the console of ${vm.name}`);
    }

    async read() {
        this.reading = true;
        try {
            await this.#readText();
            const silent = this.#text.trim() === '';
            if (silent && this.vm.display) {
                await this.#readPicture();
            }
            setHidden(this.picture, !(silent && this.#pictured));
            setHidden(this.screen, silent && this.#pictured);
            setText(this.said, silent && !this.#pictured ? 'has printed nothing' : '');
            this.due = Date.now() + (silent && this.vm.display ? PICTURE_MS : TEXT_MS);
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                setText(this.said, 'cannot be read now');
            }
            this.due = Date.now() + PICTURE_MS;
        } finally {
            this.reading = false;
        }
    }

    async #readText() {
        if (this.#next === null) {
            const end = await this.#fetchLog(FAR);
            this.#next = Math.max(0, end.next - TAIL_BYTES);
        }
        const { text, next } = await this.#fetchLog(this.#next);
        if (next < this.#next) {
            this.#text = ''; /* another life of the machine */
        }
        if (next !== this.#next || text) {
            this.#next = next;
            this.#text = (this.#text + text).slice(-TAIL_BYTES);
            setText(this.screen, tail(this.#text));
        }
    }

    async #fetchLog(from) {
        const url = `${logPath(this.vm.id, 'console')}?from=${from}`;
        const response = await fetch(here(url), { signal: this.signal, cache: 'no-store' });
        if (!response.ok) {
            throw new Error(`${response.status}`);
        }
        const next = Number(response.headers.get('X-Drover-Next') ?? 0);
        return { text: await response.text(), next };
    }

    #readPicture() {
        const path = `/v1/vms/${encodeURIComponent(this.vm.id)}/display.png`;
        return new Promise((resolve, reject) => {
            this.picture.onload = () => {
                this.#pictured = true;
                resolve();
            };
            this.picture.onerror = () => reject(new Error('no picture'));
            this.picture.src = here(`${path}?at=${Date.now()}`);
        });
    }

    stop() {
        this.picture.removeAttribute('src');
        this.root.remove();
    }
}

/* The last lines that are not blank, each cut where a screen would end. */
export function tail(text) {
    const lines = text.replace(/\r\n/g, '\n').split('\n').map(overprinted);
    while (lines.length > 1 && lines.at(-1).trim() === '') {
        lines.pop();
    }
    return lines.slice(-LINES).join('\n') || ABSENT;
}

/* A carriage return begins the line again. */
function overprinted(line) {
    return (line.split('\r').filter(Boolean).at(-1) ?? '').slice(0, COLUMNS);
}
