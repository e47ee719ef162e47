/* How the current or last boot went: what was reached, and how long after the start. */
import { get } from './api.js';
import { h, replace, setHidden, setText } from './dom.js';
import { clock, time } from './format.js';
import { hostNow } from './health.js';

const ASK_MS = 1000;
const WATCHED_MS = 120000;
const STEPS = [
    ['first_output_at', 'First output'],
    ['kernel_at', 'Kernel'],
    ['userland_at', 'Userland'],
    ['ready_at', 'Ready'],
];

export function timelinePanel({ herd, id, signal }) {
    const list = h('ol', { class: 'timeline' });
    const status = h('p', { class: 'help' });
    const root = h(
        'section',
        { class: 'panel', hidden: true },
        h('h2', null, 'Last boot'),
        list,
        status,
    );
    let asked = 0;
    let timer = null;
    signal.addEventListener('abort', () => clearTimeout(timer));

    async function load() {
        asked += 1;
        const mine = asked;
        try {
            const facts = await get(`/v1/vms/${encodeURIComponent(id)}/timeline`, { signal });
            if (mine === asked) {
                show(facts);
                goOn(facts);
            }
        } catch {
            /* the page's own parts say when the daemon cannot be reached or the VM is gone */
        }
    }

    /* Only readiness is an event; what comes before it is asked for while a boot is watched. */
    function goOn(facts) {
        const begun = new Date(facts.rebooted_at ?? facts.started_at);
        const open = !facts.ready_at && !facts.userland_at;
        clearTimeout(timer);
        if (open && facts.started_at && hostNow() - begun < WATCHED_MS) {
            timer = setTimeout(load, ASK_MS);
        }
    }

    function show(facts) {
        setHidden(root, !facts.started_at);
        const begun = facts.rebooted_at ?? facts.started_at;
        const first = facts.rebooted_at ? 'Rebooted' : 'Started';
        replace(
            list,
            h('li', { 'data-reached': 'yes' }, h('span', { class: 'step' }, first), moment(begun)),
            STEPS.map(([member, words]) => step(words, facts[member], new Date(begun))),
        );
        setText(status, facts.status ? `It says: ${facts.status}` : '');
    }

    herd.follows((event) => event.subject?.id === id, load, signal);
    load();
    return root;
}

function moment(at) {
    return h('time', { datetime: at, title: time(at) }, clock(at));
}

function step(words, at, begun) {
    if (!at) {
        return h(
            'li',
            { 'data-reached': 'no' },
            h('span', { class: 'step' }, words),
            h('span', { class: 'help' }, 'not seen'),
        );
    }
    const passed = (new Date(at) - begun) / 1000;
    return h(
        'li',
        { 'data-reached': 'yes' },
        h('span', { class: 'step' }, words),
        h('time', { datetime: at, title: time(at) }, `+${passed.toFixed(passed < 10 ? 2 : 1)} s`),
    );
}
