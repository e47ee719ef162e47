/* What the figures were: charts over an hour, a day or a month, loaded when they come into view. */
import { get } from './api.js';
import { h, replace, setHidden } from './dom.js';
import { hostNow } from './health.js';

const RANGES = [
    { name: 'Hour', seconds: 3600, refresh: 5000 },
    { name: 'Day', seconds: 86400, refresh: 60000 },
    { name: 'Month', seconds: 30 * 86400, refresh: 300000 },
];

/* path: a history of the API; plots: as Plot takes them. The figures, newest at the right edge. */
export function pastPanel({ title, path, plots, signal }) {
    let chosen = RANGES[0];
    let made = null;
    let timer = null;
    let turn = 0;
    const body = h('div', { class: 'plots', 'aria-busy': 'true' });
    const blank = h('p', { class: 'help', hidden: true });
    const trouble = h('p', { class: 'notice notice-bad', hidden: true });
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
        clearTimeout(timer);
        if (!made || signal.aborted) {
            return;
        }
        turn += 1;
        const mine = turn;
        if (document.visibilityState === 'visible') {
            const from = Math.floor(hostNow() / 1000) - chosen.seconds;
            try {
                const answer = await get(`${path}?from=${from}`, { signal });
                if (mine !== turn) {
                    return; /* another range was chosen meanwhile */
                }
                show(answer);
            } catch (problem) {
                if (signal.aborted || mine !== turn) {
                    return;
                }
                replace(trouble, `${problem.title}. ${problem.remedy}`);
                setHidden(trouble, false);
            }
        }
        timer = setTimeout(refresh, chosen.refresh);
    }

    function show(answer) {
        setHidden(trouble, true);
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
            replace(trouble, 'The charts could not be loaded. Reload the page.');
            setHidden(trouble, false);
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
    signal.addEventListener('abort', () => {
        sight.disconnect();
        clearTimeout(timer);
    });
    return root;
}

const has = (answer) => (curve) => answer.figures[curve.figure] !== undefined;
