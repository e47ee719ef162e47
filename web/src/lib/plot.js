/*
 * The only module that knows uPlot; loaded when a chart comes into view. A chart is a set of curves,
 * each with a band from the least to the most that was measured around its mean. What was not
 * measured is a gap, never a line across it.
 */
import uPlot from 'uplot';
import { h, setText } from './dom.js';

const HEIGHT = 160;
/* Steps that make round numbers of bytes. */
const BINARY = Array.from({ length: 51 }, (_, i) => 2 ** i);
const CURVES = ['--moss', '--brass-mark', '--info', '--bad'];
const dark = matchMedia('(prefers-color-scheme: dark)');

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const faint = (name) => `color-mix(in srgb, ${colour(name)} 22%, transparent)`;

/* spec: {title, format(value), inBytes?, curves: [{name, figure}], ceiling?}; signal ends it. */
export class Plot {
    #plot = null;
    #spec;
    #answer = null;
    #sums = [];

    constructor(spec, signal) {
        this.#spec = spec;
        this.canvas = h('div', { class: 'plot-canvas', role: 'img', 'aria-label': spec.title });
        this.readings = spec.curves.map(() => h('span', { class: 'plot-reading' }));
        this.when = h('span', { class: 'plot-when' });
        this.root = h(
            'figure',
            { class: 'plot' },
            h(
                'figcaption',
                null,
                h('strong', null, spec.title),
                spec.curves.map((curve, index) =>
                    h(
                        'span',
                        { class: `plot-key plot-key-${index}` },
                        spec.curves.length > 1 && `${curve.name} `,
                        this.readings[index],
                    ),
                ),
                this.when,
            ),
            this.canvas,
        );
        const size = new ResizeObserver(() => this.#fit());
        size.observe(this.canvas);
        dark.addEventListener('change', () => this.#make(), { signal });
        signal.addEventListener('abort', () => {
            size.disconnect();
            this.#plot?.destroy();
            this.#plot = null;
        });
    }

    /* answer: as GET …/history answers. True when there is anything to see. */
    draw(answer) {
        this.#answer = answer;
        this.#sums = this.#spec.curves.map((curve) => summary(answer.figures[curve.figure]));
        if (!this.#plot) {
            this.#make();
        } else {
            this.#plot.setData(this.#columns());
            this.#plot.setScale('x', this.#span());
        }
        this.#tell(null);
        this.canvas.setAttribute('aria-label', this.#words());
        return this.#sums.some(Boolean);
    }

    #span() {
        return {
            min: new Date(this.#answer.from) / 1000,
            max: new Date(this.#answer.to) / 1000,
        };
    }

    /* Times, and for each curve the mean, the most and the least. */
    #columns() {
        const { times, figures } = this.#answer;
        const nothing = times.map(() => null);
        return [
            times,
            ...this.#spec.curves.flatMap(({ figure }) => {
                const { mean = nothing, max = mean, min = mean } = figures[figure] ?? {};
                return [mean, max, min];
            }),
        ];
    }

    #make() {
        if (!this.#answer || !this.canvas.clientWidth) {
            return;
        }
        this.#plot?.destroy();
        const { format, curves, ceiling, inBytes } = this.#spec;
        const axis = {
            stroke: colour('--soft'),
            grid: { stroke: colour('--line'), width: 1 },
            ticks: { stroke: colour('--line'), width: 1 },
            font: '12px system-ui, sans-serif',
        };
        const hidden = { points: { show: false }, width: 0, stroke: 'transparent' };
        this.#plot = new uPlot(
            {
                width: this.canvas.clientWidth,
                height: HEIGHT,
                legend: { show: false },
                cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
                scales: {
                    x: { time: true, auto: false, ...this.#span() },
                    y: { range: (_, low, high) => range(low, high, ceiling?.()) },
                },
                series: [
                    {},
                    ...curves.flatMap((_, index) => [
                        {
                            stroke: colour(CURVES[index]),
                            width: 1.5,
                            points: { show: true, size: 4, filter: lonely },
                        },
                        hidden,
                        hidden,
                    ]),
                ],
                bands: curves.map((_, index) => ({
                    series: [3 * index + 2, 3 * index + 3],
                    fill: faint(CURVES[index]),
                })),
                axes: [
                    { ...axis, values: DAYTIME, space: 70, size: 30 },
                    {
                        ...axis,
                        size: 76,
                        ...(inBytes && { incrs: BINARY }),
                        values: (_, ticks) => ticks.map((t) => format(t)),
                    },
                ],
                hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
            },
            this.#columns(),
            this.canvas,
        );
    }

    #fit() {
        const width = this.canvas.clientWidth;
        if (!this.#plot) {
            this.#make();
        } else if (width && width !== this.#plot.width) {
            this.#plot.setSize({ width, height: HEIGHT });
        }
    }

    /* What stands above the curve: at the pointer, else the newest and how far it ranged. */
    #tell(at) {
        const { format, curves } = this.#spec;
        const { times, figures } = this.#answer;
        const here = typeof at === 'number' ? at : null;
        curves.forEach(({ figure }, index) => {
            const sum = this.#sums[index];
            const value = here === null ? sum?.last : figures[figure]?.mean[here];
            const low = here === null ? sum?.low : figures[figure]?.min?.[here];
            const high = here === null ? sum?.high : figures[figure]?.max?.[here];
            const band =
                typeof low === 'number' && low !== high ? ` (${format(low)} to ${format(high)})` : '';
            setText(this.readings[index], typeof value === 'number' ? format(value) + band : '–');
        });
        setText(this.when, here === null ? '' : new Date(times[here] * 1000).toLocaleString());
    }

    #words() {
        const { title, format, curves } = this.#spec;
        const each = curves.map(({ name }, index) => {
            const sum = this.#sums[index];
            return sum
                ? `${name} ${format(sum.last)} at the end, ${format(sum.low)} to ${format(sum.high)}, mean ${format(sum.mean)}`
                : `${name}: nothing was measured`;
        });
        return `${title}: ${each.join('; ')}`;
    }
}

/* A point between two gaps has no line to be seen by. */
function lonely(plot, index) {
    const values = plot.data[index];
    return values.flatMap((v, i) =>
        v !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? [i] : [],
    );
}

/* Short enough for a phone: the time of day, and the day where it begins. */
function DAYTIME(_, ticks, axis, space, step) {
    return ticks.map((tick) => {
        const at = new Date(tick * 1000);
        const midnight = at.getHours() === 0 && at.getMinutes() === 0;
        return step >= 86400 || midnight
            ? at.toLocaleDateString(undefined, { day: 'numeric', month: 'short' })
            : at.toLocaleTimeString(undefined, {
                  hour: '2-digit',
                  minute: '2-digit',
                  hour12: false,
              });
    });
}

/* From nought, so that a small change does not look like a large one. */
function range(low, high, ceiling = 0) {
    const top = Math.max(high ?? 0, ceiling ?? 0);
    return [Math.min(0, low ?? 0), top > 0 ? top * 1.05 : 1];
}

function summary(figure) {
    const known = figure?.mean.filter((v) => v !== null) ?? [];
    if (known.length === 0) {
        return null;
    }
    const numbers = (list) => (list ?? figure.mean).filter((v) => v !== null);
    return {
        last: known.at(-1),
        mean: known.reduce((sum, v) => sum + v, 0) / known.length,
        low: numbers(figure.min).reduce((a, b) => Math.min(a, b)),
        high: numbers(figure.max).reduce((a, b) => Math.max(a, b)),
    };
}
