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
import { every, redraw, reloader, soon } from '../lib/reload.js';

const OPERATIONS_SHOWN = 60;
const PAGE = 200;
const MOST_EVENTS = 5000;
const ASK_MS = 1000;
const NAMED_MS = 200; /* a burst of machines is one redraw */
const MOST_ASKED = 20; /* of those that go on, at a time */
const STATES = ['pending', 'running', 'succeeded', 'failed', 'cancelled'];
const going = (op) => op.state === 'pending' || op.state === 'running';

export function activityPage({ herd, live, session, signal }) {
    const who = actorNames(session, signal);
    const names = new Map(); /* id -> name, as events carry it: of what is gone, too */
    const operations = operationsPanel({ herd, session, who, names, signal });
    const log = logPanel({ herd, live, who, names, onNames: () => operations.show(), signal });
    who.loaded.then(() => {
        operations.show();
        log.nameActors();
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

function operationsPanel({ herd, session, who, names, signal }) {
    const list = h('ul', { class: 'rows operations' });
    const trouble = h('div', { role: 'alert' });
    const blank = h('p', { class: 'help' }, 'Loading …');
    const state = h(
        'select',
        { 'aria-label': 'State of the operation', onchange: () => begin() },
        h('option', { value: '' }, 'any state'),
        STATES.map((value) => h('option', { value }, value)),
    );
    const older = h(
        'button',
        { type: 'button', class: 'button', hidden: true, onclick: () => loadOlder() },
        'Older',
    );
    const things = new Map(); /* id of an image or a set -> name */
    const known = new Map(); /* id -> operation, of the pages that were read */
    let cursor; /* of the page after the oldest that was read; undefined: none was */
    const values = () => [...known.values()];

    const load = reloader(
        async () => {
            const { items, next_cursor: next } = await page(null);
            cursor = cursor === undefined ? next : cursor;
            await take(items);
        },
        { trouble, signal },
    );
    const loadOlder = reloader(
        async () => {
            const { items, next_cursor: next } = await page(cursor);
            cursor = next;
            await take(items);
        },
        { trouble, signal },
    );

    function begin() {
        known.clear();
        cursor = undefined;
        return load();
    }

    function page(from) {
        const wanted = [
            `limit=${OPERATIONS_SHOWN}`,
            state.value && `state=${state.value}`,
            from && `cursor=${encodeURIComponent(from)}`,
        ];
        return get(`/v1/operations?${wanted.filter(Boolean).join('&')}`, { signal });
    }

    async function take(items) {
        items.forEach((op) => known.set(op.id, op));
        if (state.value) {
            values().forEach((op) => op.state !== state.value && known.delete(op.id));
        }
        await learnNames();
        show();
    }

    /* How far one is, is in no event: those that go on are asked for, one by one. */
    async function lookAtGoing() {
        const now = await Promise.all(
            values()
                .filter(going)
                .slice(0, MOST_ASKED)
                .map((op) => get(`/v1/operations/${op.id}`, { signal }).catch(() => op)),
        );
        if (now.length > 0 && !signal.aborted) {
            await take(now);
        }
    }

    async function learnNames() {
        const items = values();
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
        if (cursor === undefined) {
            return;
        }
        const now = values().sort(
            (a, b) => Number(going(b)) - Number(going(a)) || (a.created_at < b.created_at ? 1 : -1),
        );
        redraw(list, now.map(row));
        setText(blank, state.value ? `None is ${state.value}.` : 'Nothing has been done yet.');
        setHidden(blank, now.length > 0);
        setHidden(older, !cursor);
    }

    function subject(op) {
        const vm = op.vm_id && herd.vms.get(op.vm_id);
        if (vm) {
            return h('a', { href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name);
        }
        const id = op.vm_id ?? op.image_id ?? op.set_id;
        const name = id && things.get(id);
        if (name) {
            const page = op.image_id ? 'images' : `sets/${encodeURIComponent(name)}`;
            return h('a', { href: `#/${page}` }, name);
        }
        if (!id) {
            return h('span', null, 'the host');
        }
        /* It is gone: events tell what it was called, as far back as they were read. */
        return names.get(id)
            ? h('span', { title: `${id}, which is gone` }, names.get(id))
            : h('code', { class: 'help', title: 'It is gone.' }, id);
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

    herd.follows((event) => event.type.startsWith('operation.'), load, signal);
    /* An operation may be known before its machine is. */
    herd.on('list', soon(show, NAMED_MS, signal), signal);
    every(ASK_MS, lookAtGoing, signal);
    return {
        root: h(
            'section',
            { class: 'panel', 'aria-label': 'Operations' },
            h('div', { class: 'panel-head' }, h('h2', null, 'Operations'), state),
            trouble,
            list,
            blank,
            older,
        ),
        load,
        show,
    };
}

function logPanel({ herd, live, who, names, onNames, signal }) {
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
        'Older',
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
        let news = false;
        for (const event of items) {
            const { id, name } = event.subject;
            events.set(event.seq, event);
            if (id && name && !names.has(id)) {
                names.set(id, name);
                news = true;
            }
        }
        news && onNames();
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
        const { id, kind: what } = event.subject;
        const name = event.subject.name || names.get(id) || [what, id].filter(Boolean).join(' ');
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
            h('span', { class: 'help log-who' }, actor(event)),
            h(
                'code',
                { class: 'log-type', title: `Request ${event.request_id || 'none'}` },
                event.type,
            ),
        );
    }

    const actor = (event) => (event.actor ? `by ${who.of(event.actor)}` : ABSENT);

    /* The tokens' names may come later than the log. */
    function nameActors() {
        for (const item of list.children) {
            setText(item.querySelector('.log-who'), actor(events.get(Number(item.dataset.seq))));
        }
        show(); /* they are searched, too */
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
        nameActors,
    };
}
