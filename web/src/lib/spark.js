/* A sparkline: the newest point is at the right edge, a missing figure is a gap. */
import { s } from './dom.js';
import { HISTORY } from './figures.js';

const WIDTH = 96;
const HEIGHT = 24;

export class Spark {
    constructor(label) {
        this.line = s('path', { class: 'spark-line' });
        this.area = s('path', { class: 'spark-area' });
        /* The figure stands beside it in words, so it is decoration to a screen reader. */
        this.root = s(
            'svg',
            {
                class: `spark spark-${label}`,
                viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
                preserveAspectRatio: 'none',
                'aria-hidden': 'true',
            },
            this.area,
            this.line,
        );
    }

    draw(values, ceiling) {
        const top = Math.max(ceiling || 0, ...values.filter((v) => v !== null), Number.MIN_VALUE);
        const step = WIDTH / (HISTORY - 1);
        let line = '';
        let area = '';
        let start = null;
        const close = (x) => {
            if (start !== null) {
                area += `L${x.toFixed(1)} ${HEIGHT}L${start.toFixed(1)} ${HEIGHT}Z`;
                start = null;
            }
        };
        let x = 0;
        values.forEach((value, index) => {
            const previous = x;
            x = WIDTH - (values.length - 1 - index) * step;
            if (value === null) {
                close(previous);
                return;
            }
            const y = HEIGHT - 1 - (value / top) * (HEIGHT - 2);
            const point = `${x.toFixed(1)} ${y.toFixed(1)}`;
            line += `${start === null ? 'M' : 'L'}${point}`;
            area += `${start === null ? 'M' : 'L'}${point}`;
            start ??= x;
        });
        close(x);
        this.line.setAttribute('d', line);
        this.area.setAttribute('d', area);
    }
}
