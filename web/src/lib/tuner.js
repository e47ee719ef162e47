/* What merging costs beside what it saves, and what the tuner decided lately, with its reasons. */
import { h, replace, setText } from './dom.js';
import { bytes, clock, percent, seconds, time } from './format.js';

const MODE_WORDS = { off: 'nobody', static: 'what was set here', auto: 'Drover' };
const PHASE_WORDS = {
    off: 'Off',
    static: 'As set',
    idle: 'At rest',
    boost: 'Scanning fast',
    steady: 'Scanning',
    trickle: 'Scanning slowly',
    yielded: 'Left to somebody else',
    unable: 'Not possible',
};
const RUN_WORDS = { 0: 'stopped', 1: 'running', 2: 'stopped, all pages unmerged' };

export function costPanel() {
    const sums = h('dl', { class: 'sums' });
    const now = h('p');
    const list = h('ol', { class: 'events decisions' });
    const root = h(
        'section',
        { class: 'panel' },
        h('h2', null, 'What it costs'),
        sums,
        now,
        h('h3', null, 'Last decisions'),
        list,
    );

    function show(ksm, host) {
        const perMib = ksm.ksmd_cpu_seconds_per_saved_mib;
        const facts = [
            ['Scanner (ksmd)', RUN_WORDS[ksm.knobs?.run] ?? 'unknown'],
            ['It takes of one CPU', percent(host?.ksmd_cpu_percent)],
            ['CPU time since boot', seconds(ksm.ksmd_cpu_seconds)],
            ['CPU time per GiB saved now', seconds(perMib === undefined ? undefined : perMib * 1024)],
            ['Gain after costs', bytes(ksm.counters?.general_profit)],
            ['Turned by', MODE_WORDS[ksm.tuner?.mode] ?? 'nobody'],
        ];
        if (sums.children.length !== facts.length) {
            replace(
                sums,
                facts.map(() => h('div', null, h('dt'), h('dd'))),
            );
        }
        facts.forEach(([name, value], index) => {
            setText(sums.children[index].firstElementChild, name);
            setText(sums.children[index].lastElementChild, value);
        });
        const tuner = ksm.tuner;
        const budget = tuner?.budget_percent ? `, at most ${tuner.budget_percent} % of one CPU` : '';
        setText(
            now,
            tuner ? `${PHASE_WORDS[tuner.phase] ?? tuner.phase}${budget}: ${tuner.reason}` : '',
        );
        replace(
            list,
            (tuner?.decisions ?? []).map((d) =>
                h(
                    'li',
                    null,
                    h('time', { datetime: d.at, title: time(d.at) }, clock(d.at)),
                    h('span', null, PHASE_WORDS[d.phase] ?? d.phase),
                    h('span', null, d.reason),
                ),
            ),
        );
    }
    return { root, show };
}
