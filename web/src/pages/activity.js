/* What goes on and what went on: operations with progress and cancel, and the event log, newest first. */
import { del, get, listAll } from '../lib/api.js';
import { actorNames } from '../lib/actors.js';
import { operationProblem } from '../lib/actions.js';
import { confirm } from '../lib/dialog.js';
import { h, replace, setHidden, setText } from '../lib/dom.js';
import { eventWords, operationWords, subjectHref } from '../lib/eventwords.js';
import { ABSENT, fromNow, span, time } from '../lib/format.js';
import { announce, problemBody, showProblem } from '../lib/notify.js';
import { progressText } from '../lib/progress.js';
import { every, redraw, reloader } from '../lib/reload.js';

const OPERATIONS_SHOWN = 60;
const PAGE = 200;
const MOST_EVENTS = 5000;
const ASK_MS = 1000;
const STATES = ['pending', 'running', 'succeeded', 'failed', 'cancelled'];
const going = (op) => op.state === 'pending' || op.state === 'running';

export function activityPage({ herd, live, session, signal }) {
    const who = actorNames(session, signal);
    const operations = operationsPanel({ herd, session, who, signal });
    const log = logPanel({ herd, live, who, signal });
    who.loaded.then(() => {
        operations.show();
        log.show();
    });
    return {
        title: 'Activity',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Activity')),
            operations.root,
            log.root,
        ),
        start() {
            operations.load();
            log.load();
        },
    };
}

function operationsPanel({ herd, session, who, signal }) {
    const list = h('ul', { class: 'rows operations' });
    const trouble = h('div', { role: 'alert' });
    const blank = h('p', { class: 'help' }, 'Loading …');
    const state = h(
        'select',
        { 'aria-label': 'State of the operation', onchange: () => load() },
        h('option', { value: '' }, 'any state'),
        STATES.map((value) => h('option', { value }, value)),
    );
    const things = new Map(); /* id of an image or a set -> name */
    let items = null;

    const load = reloader(
        async () => {
            const wanted = state.value ? `&state=${state.value}` : '';
            const path = `/v1/operations?limit=${OPERATIONS_SHOWN}${wanted}`;
            items = (await get(path, { signal })).items;
            await learnNames();
            show();
        },
        { trouble, signal },
    );

    async function learnNames() {
        const unknown = (id) => id && !things.has(id);
        const learn = async (path) => {
            const known = await listAll(path, { signal });
            known.forEach((thing) => things.set(thing.id, thing.name));
        };
        if (session.can('image:read') && items.some((op) => unknown(op.image_id))) {
            await learn('/v1/images').catch(() => {});
        }
        if (items.some((op) => unknown(op.set_id))) {
            await learn('/v1/sets').catch(() => {});
        }
        items.forEach((op) => {
            for (const id of [op.image_id, op.set_id]) {
                if (unknown(id)) {
                    things.set(id, null); /* gone: not asked for again */
                }
            }
        });
    }

    function show() {
        if (!items) {
            return;
        }
        const now = [...items].sort((a, b) => Number(going(b)) - Number(going(a)));
        redraw(list, now.map(row));
        setText(blank, state.value ? `None is ${state.value}.` : 'Nothing has been done yet.');
        setHidden(blank, items.length > 0);
    }

    function subject(op) {
        const vm = op.vm_id && herd.vms.get(op.vm_id);
        if (vm) {
            return h('a', { href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name);
        }
        const id = op.image_id ?? op.set_id;
        const name = id && things.get(id);
        if (name) {
            const page = op.image_id ? 'images' : `sets/${encodeURIComponent(name)}`;
            return h('a', { href: `#/${page}` }, name);
        }
        const kind = op.kind.split('.')[0] === 'vm' ? 'machine' : op.kind.split('.')[0];
        return h('span', { class: 'help' }, `a ${kind} that is gone`);
    }

    function row(op) {
        const what = operationWords(op.kind);
        const took =
            op.finished_at && op.started_at
                ? span(new Date(op.finished_at) - new Date(op.started_at))
                : null;
        return h(
            'li',
            { 'data-operation': op.id },
            h(
                'span',
                { class: 'row-what' },
                h('span', { class: 'tag', 'data-state': op.state }, op.state),
                h('strong', null, what),
                subject(op),
            ),
            h(
                'span',
                { class: 'help' },
                h(
                    'time',
                    { datetime: op.created_at, title: time(op.created_at) },
                    fromNow(op.created_at),
                ),
                ` by ${who.of(op.actor)}`,
                took && ` · took ${took}`,
            ),
            op.error &&
                h(
                    'details',
                    { class: 'fold row-why' },
                    h('summary', null, op.error.title ?? 'Why'),
                    problemBody(operationProblem(op)),
                ),
            going(op) && progress(op),
            h('span', { class: 'button-row' }, cancelButton(op, what)),
        );
    }

    function progress(op) {
        const { done, total, words } = progressText(op);
        const bar = h('progress', { 'aria-label': `Progress: ${operationWords(op.kind)}` });
        if (total) {
            bar.max = total;
            bar.value = done;
        }
        return h('span', { class: 'progress row-why' }, bar, h('span', { class: 'help' }, words));
    }

    function cancelButton(op, what) {
        if (!going(op) || !session.can('vm:write')) {
            return null;
        }
        const name = herd.vms.get(op.vm_id)?.name ?? things.get(op.image_id ?? op.set_id) ?? '';
        return h(
            'button',
            {
                type: 'button',
                class: 'button small',
                'aria-label': `Cancel: ${what} ${name}`.trim(),
                onclick: () => cancel(op, what),
            },
            'Cancel',
        );
    }

    async function cancel(op, what) {
        const yes = await confirm({
            title: `Cancel this ${what}?`,
            action: 'Cancel it',
            danger: true,
            body: 'What it has done so far is given up; bytes that were fetched have to be fetched again.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/operations/${encodeURIComponent(op.id)}`);
            announce(`${what} was cancelled`);
        } catch (problem) {
            showProblem(`Cancelling ${what} did not work`, problem);
        }
        await load();
    }

    herd.on('event', (event) => event.type.startsWith('operation.') && load(), signal);
    herd.on('loaded', () => show(), signal);
    /* How far one is, is in no event. */
    every(ASK_MS, () => items?.some(going) && load(), signal);
    return {
        root: h(
            'section',
            { class: 'panel', 'aria-label': 'Operations' },
            h('div', { class: 'panel-head' }, h('h2', null, 'Operations'), state),
            trouble,
            list,
            blank,
        ),
        load,
        show,
    };
}

function logPanel({ herd, live, who, signal }) {
    const list = h('ol', { class: 'log' });
    const trouble = h('div', { role: 'alert' });
    const blank = h('p', { class: 'help' }, 'Loading …');
    const text = h('input', {
        type: 'search',
        'aria-label': 'Search the event log',
        placeholder: 'Name, words, actor or request',
        autocomplete: 'off',
        spellcheck: 'false',
        oninput: () => show(),
    });
    const kind = h('select', { 'aria-label': 'About', onchange: () => show() });
    const older = h(
        'button',
        { type: 'button', class: 'button', hidden: true, onclick: () => loadOlder() },
        'Show older',
    );
    const save = h(
        'button',
        { type: 'button', class: 'button small', onclick: download },
        'Download as JSON',
    );
    const events = new Map(); /* seq -> event */
    let from = null; /* everything after this seq has been read */
    let ready = false;

    /* The log is read forwards: the newest page begins a page before its end. */
    const load = reloader(
        async () => {
            const { last_seq: last } = await get('/v1/events?limit=1', { signal });
            const newest = from === null ? 0 : Math.max(...events.keys(), from);
            const since = Math.max(newest, last - PAGE, 0);
            from ??= since;
            take((await get(`/v1/events?since=${since}&limit=${PAGE}`, { signal })).items);
            ready = true;
            show();
        },
        { trouble, signal },
    );

    /* Seqs of other projects are not among the answers: a stretch may be empty. */
    async function loadOlder() {
        older.disabled = true;
        try {
            for (let found = 0; found === 0 && from > 0;) {
                const since = Math.max(0, from - PAGE);
                const { items } = await get(`/v1/events?since=${since}&limit=${PAGE}`, { signal });
                found = take(items.filter((event) => event.seq <= from));
                from = since;
            }
            show();
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                showProblem('Older events cannot be read', problem);
            }
        }
        older.disabled = false;
    }

    function take(items) {
        items.forEach((event) => events.set(event.seq, event));
        return items.length;
    }

    function chosen() {
        const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
        return [...events.values()]
            .filter((event) => !kind.value || event.subject.kind === kind.value)
            .filter((event) => {
                const all = [
                    event.type,
                    event.subject.name,
                    event.subject.id,
                    eventWords(event),
                    event.actor,
                    who.of(event.actor),
                    event.request_id,
                ]
                    .join(' ')
                    .toLowerCase();
                return words.every((word) => all.includes(word));
            })
            .sort((a, b) => b.seq - a.seq);
    }

    function show() {
        const kinds = [...new Set([...events.values()].map((e) => e.subject.kind))].sort();
        if (kind.dataset.kinds !== kinds.join()) {
            const before = kind.value;
            kind.dataset.kinds = kinds.join();
            replace(
                kind,
                h('option', { value: '' }, 'about anything'),
                kinds.map((value) => h('option', { value }, value === 'vm' ? 'machine' : value)),
            );
            kind.value = kinds.includes(before) ? before : '';
        }
        const wanted = chosen();
        const known = new Map([...list.children].map((item) => [Number(item.dataset.seq), item]));
        list.replaceChildren(...wanted.map((event) => known.get(event.seq) ?? line(event)));
        setHidden(older, !ready || !(from > 0) || events.size >= MOST_EVENTS);
        setHidden(save, wanted.length === 0);
        setHidden(blank, wanted.length > 0);
        if (ready) {
            setText(
                blank,
                events.size ? 'No event that was read matches.' : 'Nothing has happened yet.',
            );
        }
    }

    function line(event) {
        const href = subjectHref(event.subject);
        const name = event.subject.name || event.subject.kind;
        return h(
            'li',
            { 'data-seq': event.seq },
            h('time', { datetime: event.at }, time(event.at)),
            h(
                'span',
                { class: 'log-what' },
                href && event.type !== 'vm.deleted'
                    ? h('a', { href }, name)
                    : h('strong', null, name),
                ' ',
                eventWords(event),
            ),
            h('span', { class: 'help' }, event.actor ? `by ${who.of(event.actor)}` : ABSENT),
            h(
                'code',
                { class: 'log-type', title: `Request ${event.request_id || 'none'}` },
                event.type,
            ),
        );
    }

    function download() {
        const text = JSON.stringify(chosen(), null, 2);
        const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
        h('a', { href: url, download: 'drover-events.json' }).click();
        setTimeout(() => URL.revokeObjectURL(url), 60000);
    }

    /* A burst is one redraw. */
    let planned = null;
    herd.on(
        'event',
        (event) => {
            if (!event.seq || !event.subject) {
                return;
            }
            take([event]);
            planned ??= setTimeout(() => {
                planned = null;
                show();
            }, 200);
        },
        signal,
    );
    live.on('open', (fresh) => fresh && from !== null && load(), signal);
    signal.addEventListener('abort', () => clearTimeout(planned));
    return {
        root: h(
            'section',
            { class: 'panel', 'aria-label': 'Event log' },
            h('div', { class: 'panel-head' }, h('h2', null, 'Event log'), save),
            h(
                'p',
                { class: 'help' },
                'Who did what and when, in your time zone. Hold the pointer over a type for the request it came from.',
            ),
            h('div', { class: 'log-tools' }, text, kind),
            trouble,
            list,
            blank,
            older,
        ),
        load,
        show,
    };
}
