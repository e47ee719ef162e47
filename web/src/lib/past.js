/*
 * What the figures were: charts over an hour, a day or a month, loaded when they come into view. The
 * daemon is asked for a history once; from then on the curves grow by the samples that are streamed.
 */
import { get } from './api.js';
import { h, replace, setHidden } from './dom.js';
import { Grown } from './grown.js';
import { hostNow } from './health.js';
import { troubleNotice } from './reload.js';

const RANGES = [
    { name: 'Hour', seconds: 3600, draw: 4000 },
    { name: 'Day', seconds: 86400, draw: 30000 },
    { name: 'Month', seconds: 30 * 86400, draw: 300000 },
];
const AGAIN_MS = 15000; /* between two histories that a gap asks for */

/*
 * path: a history of the API; plots: as Plot takes them; sample(): the newest values by the names of the
 * figures, or null. The figures, newest at the right edge.
 */
export function pastPanel({ title, path, plots, herd, sample, signal }) {
    let chosen = RANGES[0];
    let made = null;
    let past = null; /* the history, with what came since */
    let askedAt = 0;
    let drawnAt = 0;
    let turn = 0;
    let tries = 0; /* in vain, one after the other */
    let waiting = new AbortController(); /* for the next try */
    const body = h('div', { class: 'plots', 'aria-busy': 'true' });
    const blank = h('p', { class: 'help', hidden: true });
    const trouble = h('div', { role: 'alert' });
    const buttons = RANGES.map((range) =>
        h(
            'button',
            {
                type: 'button',
                class: 'button small',
                'aria-pressed': String(range === chosen),
                onclick: () => choose(range),
            },
            range.name,
        ),
    );
    const root = h(
        'section',
        { class: 'panel past' },
        h(
            'div',
            { class: 'panel-head' },
            h('h2', null, title),
            h('div', { class: 'button-row', role: 'group', 'aria-label': 'Range' }, buttons),
        ),
        trouble,
        blank,
        body,
    );

    function choose(range) {
        chosen = range;
        RANGES.forEach((r, i) => buttons[i].setAttribute('aria-pressed', String(r === range)));
        refresh();
    }

    async function refresh() {
        if (!made || signal.aborted || document.visibilityState !== 'visible') {
            return;
        }
        turn += 1;
        const mine = turn;
        askedAt = Date.now();
        waiting.abort();
        waiting = new AbortController();
        const from = Math.floor(hostNow() / 1000) - chosen.seconds;
        try {
            const answer = await get(`${path}?from=${from}`, { signal });
            if (mine === turn) {
                past = new Grown(answer, chosen.seconds); /* else another range was chosen meanwhile */
                show();
            }
        } catch (problem) {
            if (!signal.aborted && mine === turn) {
                const options = { again: refresh, tries, signal: waiting.signal };
                replace(trouble, troubleNotice(problem, options));
                tries += 1;
            }
        }
    }

    /* A stretch that was not streamed is asked for. */
    function grow() {
        const values = past && sample();
        const { at } = herd.figures;
        if (values && !past.add(at / 1000, values)) {
            Date.now() - askedAt > AGAIN_MS && refresh();
        } else if (!past && made && Date.now() - askedAt > AGAIN_MS) {
            refresh();
        } else if (values && Date.now() - drawnAt > chosen.draw) {
            show();
        }
    }

    function show() {
        const { answer } = past;
        drawnAt = Date.now();
        tries = 0;
        replace(trouble);
        const any = made.map((plot) => plot.draw(answer)).some(Boolean);
        made.forEach((plot, i) => setHidden(plot.root, !plots[i].curves.some(has(answer))));
        setHidden(blank, any);
        replace(blank, `Nothing was measured in the last ${chosen.name.toLowerCase()}.`);
        body.setAttribute('aria-busy', 'false');
    }

    async function load() {
        try {
            const { Plot } = await import('./plot.js');
            if (signal.aborted) {
                return;
            }
            made = plots.map((spec) => new Plot(spec, signal));
            replace(
                body,
                made.map((plot) => plot.root),
            );
            refresh();
        } catch {
            replace(
                trouble,
                h(
                    'p',
                    { class: 'notice notice-bad' },
                    'The charts could not be loaded. Reload the page.',
                ),
            );
        }
    }

    const sight = new IntersectionObserver(
        (entries) => {
            if (entries.some((e) => e.isIntersecting)) {
                sight.disconnect();
                load();
            }
        },
        { rootMargin: '200px' },
    );
    sight.observe(root);
    document.addEventListener('visibilitychange', refresh, { signal });
    herd.on('figures', grow, signal);
    signal.addEventListener('abort', () => {
        sight.disconnect();
        waiting.abort();
    });
    return root;
}

const has = (answer) => (curve) => answer.figures[curve.figure] !== undefined;
