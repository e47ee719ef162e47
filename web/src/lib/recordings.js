/*
 * Recordings of consoles: which are running, for the red dot, and the list with what can be done.
 * Signals of Recorder: "change".
 */
import { del, get, listAll, post } from './api.js';
import { confirm } from './dialog.js';
import { h, setHidden } from './dom.js';
import { Emitter } from './emitter.js';
import { finder } from './finder.js';
import { bytes, time } from './format.js';
import { announce, showProblem } from './notify.js';
import { here } from './place.js';
import { redraw, reloader } from './reload.js';
import { streamTitle } from './streams.js';

const NEWEST = 200;

/* What is being recorded now, among the newest recordings; kept by the event stream. */
export class Recorder extends Emitter {
    running = new Map(); /* recording id -> recording */
    #busy = false;
    #again = false;

    constructor(herd, signal) {
        super();
        this.signal = signal;
        herd.follows(
            (event) => event.type.startsWith('recording.'),
            () => this.load(),
            signal,
        );
    }

    of(vmId, stream) {
        return (
            [...this.running.values()].find((r) => r.vm_id === vmId && r.stream === stream) ?? null
        );
    }

    /* Bursts of events cost one or two reads. */
    async load() {
        if (this.#busy) {
            this.#again = true;
            return;
        }
        this.#busy = true;
        try {
            const { items } = await get(`/v1/recordings?limit=${NEWEST}`, { signal: this.signal });
            const running = items.filter((r) => r.state === 'recording');
            this.running = new Map(running.map((r) => [r.id, r]));
            this.emit('change');
        } catch {
            /* without the list there is no dot; the next event tries again */
        } finally {
            this.#busy = false;
        }
        if (this.#again && !this.signal.aborted) {
            this.#again = false;
            await this.load();
        }
    }
}

export async function startRecording(vm, stream) {
    try {
        await post(`/v1/vms/${encodeURIComponent(vm.id)}/recordings`, { stream });
        announce(`Recording ${streamTitle(stream)} of ${vm.name}`);
    } catch (problem) {
        showProblem(`Recording ${streamTitle(stream)} of ${vm.name} did not start`, problem);
    }
}

export async function stopRecording(recording) {
    try {
        await post(`/v1/recordings/${encodeURIComponent(recording.id)}/stop`);
        announce('The recording was stopped');
    } catch (problem) {
        showProblem('Stopping the recording did not work', problem);
    }
}

export function contentPath(recording) {
    return `/v1/recordings/${encodeURIComponent(recording.id)}/content`;
}

export function duration(seconds) {
    const whole = Math.floor(seconds ?? 0);
    const pad = (n) => String(n).padStart(2, '0');
    const hours = Math.floor(whole / 3600);
    const rest = `${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
    return hours ? `${hours}:${rest}` : rest;
}

/* vmId null: of every machine. */
export function recordingList({ recorder, session, vmId = null, signal, onCount = () => {} }) {
    const list = h('ul', { class: 'rows' });
    const trouble = h('div', { role: 'alert' });
    const blank = h(
        'div',
        { class: 'blank', hidden: true },
        h('h2', null, 'Nothing recorded yet'),
        h('p', null, 'Open a console and press Record: what it prints is kept with its timing.'),
    );
    const root = h('div', null, trouble, finder(list, 'recordings'), list, blank);
    const mayDelete = session.can('console:control');

    const load = reloader(
        async () => {
            const query = vmId ? `?vm=${encodeURIComponent(vmId)}` : '';
            const items = await listAll(`/v1/recordings${query}`, { signal });
            items.sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
            redraw(list, items.map(row));
            setHidden(blank, items.length > 0);
            onCount(items.length);
        },
        { trouble, signal },
    );

    function row(recording) {
        const what = `${vmId ? '' : `${recording.vm_name}, `}${streamTitle(recording.stream)}`;
        const label = `${what}, ${time(recording.started_at)}`;
        const going = recording.state === 'recording';
        return h(
            'li',
            { 'data-recording': recording.id },
            h(
                'span',
                { class: 'row-what' },
                h('a', { href: `#/recordings/${encodeURIComponent(recording.id)}` }, what),
                ' ',
                going && h('span', { class: 'recording' }, 'recording'),
                recording.state === 'failed' &&
                    h('span', { class: 'tag', 'data-state': 'failed' }, 'failed'),
            ),
            h('span', { class: 'help' }, facts(recording)),
            h(
                'span',
                { class: 'button-row' },
                going &&
                    mayDelete &&
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small',
                            'aria-label': `Stop recording ${label}`,
                            onclick: () => stopRecording(recording).then(load),
                        },
                        'Stop recording',
                    ),
                h(
                    'a',
                    {
                        class: 'button small',
                        href: here(contentPath(recording)),
                        download: fileName(recording),
                        'aria-label': `Download ${label}`,
                    },
                    'Download',
                ),
                mayDelete &&
                    !going &&
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small danger',
                            'aria-label': `Delete ${label}`,
                            onclick: () => remove(recording, label).then(load),
                        },
                        'Delete',
                    ),
            ),
        );
    }

    recorder.on('change', load, signal);
    load();
    return { root, load };
}

/* True: it is gone. */
export async function remove(recording, label) {
    const yes = await confirm({
        title: 'Delete this recording?',
        action: 'Delete',
        danger: true,
        body: `${label}: what was printed (${bytes(recording.size_bytes)}) cannot be brought back.`,
    });
    if (!yes) {
        return false;
    }
    try {
        await del(`/v1/recordings/${encodeURIComponent(recording.id)}`);
        announce('The recording was deleted');
        return true;
    } catch (problem) {
        showProblem('Deleting the recording did not work', problem);
        return false;
    }
}

export function fileName(recording) {
    const at = recording.started_at.replace(/[:.]/g, '-');
    return `${recording.vm_name}-${recording.stream.replaceAll('/', '-')}-${at}.cast`;
}

function facts(recording) {
    return [
        time(recording.started_at),
        duration(recording.duration_seconds),
        bytes(recording.size_bytes),
        recording.actor && `by ${recording.actor}`,
        recording.state_reason,
    ]
        .filter(Boolean)
        .join(' · ');
}

export const readRecording = (id, signal) =>
    get(`/v1/recordings/${encodeURIComponent(id)}`, { signal });
