/* Above the list of machines: what is short or does not work, with where to look, and what happened last. */
import { accessStart } from './accesstabs.js';
import { get, listAll } from './api.js';
import { h, replace, setHidden } from './dom.js';
import { eventWords, subjectHref } from './eventwords.js';
import { fromNow, plural, time } from './format.js';
import { RESOURCES } from './quota.js';
import { every, soon } from './reload.js';

const HAPPENED = 3;
const PAGE = 20; /* of events, most of which are of no interest here */
const FAILURES = 5;
const NEARLY = 0.9; /* of a limit */
const AGAIN_MS = 2000; /* after an event: a burst of them is one look */
const WORDS_MS = 10000;
const LATELY_MS = 3600 * 1000;
/* What somebody who comes in wants to know; operations are told by what they did. */
const OF_INTEREST =
    /^(vm\.(created|state|deleted|reimaged)|image\.|lease\.(claimed|ended)|pool\.|set\.|host\.|daemon\.)/;

/* After these a limit may be reached, a pool fail, something have gone wrong, or be over. */
const MAY_CHANGE_LIMITS = /^(vm\.(created|state|deleted|changed)|operation\.finished|lease\.|pool\.|host\.|daemon\.)/;

export function glance({ herd, session, signal }) {
    const short = h('ul', { class: 'short' });
    const last = h('ol', { class: 'last' });
    const shortPart = h('section', { 'aria-label': 'What needs a look', hidden: true }, short);
    const lastPart = h('section', { 'aria-label': 'What happened last', hidden: true }, last);
    let found = []; /* [words, href], without the crashed machines, which the herd knows */
    let events = [];

    async function look() {
        const parts = await Promise.allSettled([
            session.can('host:read') ? checks(signal) : [],
            limits(session, signal),
            pools(signal),
            failures(signal),
        ]);
        found = parts.flatMap(
            (part) => part.value ?? [],
        ); /* what cannot be read is told where it is shown */
        showShort();
    }

    function showShort() {
        const crashed = [...herd.vms.values()].filter((vm) => vm.state === 'crashed').length;
        const all = crashed
            ? [[`${plural(crashed, 'machine')} crashed`, '#/?state=crashed'], ...found]
            : found;
        replace(
            short,
            all.map(([words, href]) => h('li', null, h('a', { href }, words))),
        );
        setHidden(shortPart, all.length === 0 || signal.aborted);
    }

    async function catchUp() {
        const { last_seq: end } = await get('/v1/events?limit=1', { signal });
        const { items } = await get(`/v1/events?since=${Math.max(0, end - PAGE)}&limit=${PAGE}`, {
            signal,
        });
        const newer = events.filter((event) => !items.some((item) => item.seq === event.seq));
        events = [...items.filter(isOfInterest), ...newer];
        showLast();
    }

    function showLast() {
        events = events.sort((a, b) => b.seq - a.seq).slice(0, HAPPENED);
        replace(last, events.map(line));
        setHidden(lastPart, events.length === 0);
    }

    function start() {
        look();
        catchUp().catch(() => {}); /* the page of activity says why */
    }

    const lookSoon = soon(look, AGAIN_MS, signal);
    herd.follows((event) => MAY_CHANGE_LIMITS.test(event.type), lookSoon, signal);
    herd.on(
        'event',
        (event) => {
            if (isOfInterest(event)) {
                events.push(event);
                showLast();
            }
        },
        signal,
    );
    document.addEventListener('visibilitychange', () => !document.hidden && lookSoon(), { signal });
    herd.on('loaded', showShort, signal);
    herd.on('list', showShort, signal);
    every(WORDS_MS, showLast, signal);
    return { root: h('div', { class: 'glance' }, shortPart, lastPart), start };
}

function isOfInterest(event) {
    return event.seq && event.subject && OF_INTEREST.test(event.type);
}

function line(event) {
    const href = event.type.endsWith('.deleted') ? null : subjectHref(event.subject);
    const { kind, id } = event.subject;
    const name = event.subject.name || [kind, id?.slice(0, 8)].filter(Boolean).join(' ');
    return h(
        'li',
        { 'data-seq': event.seq },
        h(href ? 'a' : 'span', { href }, `${name} ${eventWords(event)}`),
        ' ',
        h('time', { class: 'help', datetime: event.at, title: time(event.at) }, fromNow(event.at)),
    );
}

async function checks(signal) {
    const { items } = await get('/v1/host/checks', { signal });
    return items
        .filter((check) => check.result !== 'ok')
        .map((check) => [check.title ?? check.id, '#/host']);
}

async function limits(session, signal) {
    const quotas = await get('/v1/quotas', { signal });
    const href = accessStart(session) ?? '#/';
    return [quotas.project, quotas.token]
        .filter(Boolean)
        .flatMap(({ quota, usage }) =>
            RESOURCES.filter(
                ([name]) => quota[name] !== null && usage[name] >= NEARLY * quota[name],
            ).map(([name, label, show]) => [
                `${label}: ${show(usage[name])} of ${show(quota[name])}`,
                href,
            ]),
        );
}

async function pools(signal) {
    const all = await listAll('/v1/pools', { signal });
    return all
        .filter((pool) => pool.status.failures > 0)
        .map((pool) => [`Pool ${pool.name} does not fill`, '#/pools']);
}

async function failures(signal) {
    const { items } = await get(`/v1/operations?state=failed&limit=${FAILURES}`, { signal });
    const recent = items.filter((op) => Date.now() - new Date(op.finished_at) < LATELY_MS).length;
    const many = recent < FAILURES ? plural(recent, 'operation') : `${FAILURES} operations or more`;
    return recent ? [[`${many} failed in the last hour`, '#/activity']] : [];
}
