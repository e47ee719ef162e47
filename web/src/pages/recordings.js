/* All recordings, and one of them being played. */
import { h, icon, replace } from '../lib/dom.js';
import { toProblem } from '../lib/api.js';
import { bytes, time } from '../lib/format.js';
import { here } from '../lib/place.js';
import { problemBody } from '../lib/notify.js';
import {
    contentPath,
    duration,
    fileName,
    readRecording,
    recordingList,
    remove,
} from '../lib/recordings.js';
import { streamHref, streamTitle } from '../lib/streams.js';

export function recordingsPage({ recorder, session, signal }) {
    const list = recordingList({ recorder, session, signal });
    return {
        title: 'Recordings',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Recordings')),
            h('section', { class: 'panel' }, list.root),
        ),
    };
}

export async function recordingPage({ session, signal, params: [id] }) {
    const recording = await readRecording(id, signal);
    const title = `${recording.vm_name}, ${streamTitle(recording.stream)}`;
    const place = h('div', null, h('p', { class: 'panel' }, 'Loading the recording …'));
    const label = `${title}, ${time(recording.started_at)}`;
    const root = h(
        'div',
        null,
        h('p', { class: 'crumb' }, h('a', { href: '#/recordings' }, icon('back'), 'Recordings')),
        h(
            'div',
            { class: 'page-head' },
            h('h1', null, title),
            recording.state === 'recording' && h('span', { class: 'recording' }, 'recording'),
            h(
                'div',
                { class: 'page-actions' },
                h(
                    'a',
                    {
                        class: 'button small',
                        href: here(contentPath(recording)),
                        download: fileName(recording),
                    },
                    'Download',
                ),
                session.can('console:control') &&
                    recording.state !== 'recording' &&
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small danger',
                            onclick: async () => {
                                if (await remove(recording, label)) {
                                    location.hash = '#/recordings';
                                }
                            },
                        },
                        'Delete',
                    ),
            ),
        ),
        h(
            'p',
            { class: 'vm-reason' },
            [
                time(recording.started_at),
                duration(recording.duration_seconds),
                bytes(recording.size_bytes),
                recording.state_reason,
            ]
                .filter(Boolean)
                .join(' · '),
            ' · ',
            h('a', { href: streamHref(recording.vm_name, recording.stream) }, 'the console itself'),
        ),
        place,
    );

    async function load() {
        try {
            const [text, { player }] = await Promise.all([
                readContent(recording, signal),
                import('../console/player.js'),
            ]);
            const made = player({ text, label: `Recording: ${label}`, signal });
            replace(place, made.root);
            made.start();
        } catch (problem) {
            if (!signal.aborted) {
                replace(
                    place,
                    h(
                        'div',
                        { class: 'notice notice-bad', role: 'alert' },
                        problemBody(
                            problem.title
                                ? problem
                                : { title: 'It cannot be played', detail: problem.message },
                        ),
                    ),
                );
            }
        }
    }
    return { title, root, start: load };
}

async function readContent(recording, signal) {
    const response = await fetch(here(contentPath(recording)), { signal, credentials: 'same-origin' });
    const text = await response.text();
    if (!response.ok) {
        let body;
        try {
            body = JSON.parse(text);
        } catch {
            body = undefined;
        }
        throw toProblem(response, body);
    }
    return text;
}
