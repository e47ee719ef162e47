/* How the current or last boot went: what was reached, and how long after the start. */
import { get } from './api.js';
import { h, replace, setHidden } from './dom.js';
import { clock, time } from './format.js';

const STEPS = [
    ['started_at', 'Started'],
    ['first_output_at', 'First output'],
    ['kernel_at', 'Kernel'],
    ['userland_at', 'Userland'],
    ['ready_at', 'Ready'],
];

export function timelinePanel({ herd, id, signal }) {
    const list = h('ol', { class: 'timeline' });
    const root = h('section', { class: 'panel', hidden: true }, h('h2', null, 'Last boot'), list);
    let asked = 0;

    async function load() {
        asked += 1;
        const mine = asked;
        try {
            const facts = await get(`/v1/vms/${encodeURIComponent(id)}/timeline`, { signal });
            if (mine === asked) {
                show(facts);
            }
        } catch {
            /* the page's own parts say when the daemon cannot be reached or the VM is gone */
        }
    }

    function show(facts) {
        setHidden(root, !facts.started_at);
        const begun = new Date(facts.started_at);
        replace(
            list,
            STEPS.map(([member, words]) => step(words, facts[member], begun)),
        );
    }

    herd.on(
        'event',
        (event) => {
            if (event.subject?.id === id) {
                load();
            }
        },
        signal,
    );
    load();
    return root;
}

function step(words, at, begun) {
    const passed = at ? (new Date(at) - begun) / 1000 : null;
    return h(
        'li',
        { 'data-reached': at ? 'yes' : 'no' },
        h('span', { class: 'step' }, words),
        at
            ? h(
                  'time',
                  { datetime: at, title: time(at) },
                  words === 'Started' ? clock(at) : `+${passed.toFixed(passed < 10 ? 2 : 1)} s`,
              )
            : h('span', { class: 'help' }, 'not seen'),
    );
}
