/* A history as the API answered it, which grows by samples that come later. Pure. */

const MOST_STEPS_MISSED = 3;

export class Grown {
    #seconds;
    #samples = 1; /* in the last step, as far as is known */

    constructor(answer, seconds) {
        this.answer = answer;
        this.#seconds = seconds;
    }

    /* at: seconds since 1970; false: too much lies between, the history has to be asked for again. */
    add(at, values) {
        const { times, figures, step_seconds: step } = this.answer;
        const first = times[0] ?? Math.floor(at / step) * step;
        const begin = first + Math.floor((at - first) / step) * step;
        const last = times.at(-1) ?? begin;
        if (begin - last > MOST_STEPS_MISSED * step) {
            return false;
        }
        if (begin < last) {
            return true; /* it is known already */
        }
        this.#samples = begin === last && times.length > 0 ? this.#samples + 1 : 1;
        for (let next = times.length ? last + step : begin; next <= begin; next += step) {
            times.push(next);
        }
        for (const [name, value] of Object.entries(values)) {
            if (typeof value === 'number') {
                figures[name] ??= { mean: [] };
            }
        }
        for (const [name, columns] of Object.entries(figures)) {
            put(columns, times.length, values[name], this.#samples);
        }
        this.#forget(at);
        return true;
    }

    #forget(at) {
        const { answer } = this;
        const from = at - this.#seconds;
        const gone = answer.times.findIndex((time) => time >= from);
        answer.from = new Date(from * 1000).toISOString();
        answer.to = new Date(at * 1000).toISOString();
        if (gone > 0) {
            answer.times.splice(0, gone);
            for (const columns of Object.values(answer.figures)) {
                Object.values(columns).forEach((column) => column.splice(0, gone));
            }
        }
    }
}

/* Into the last step: its mean is that of its samples, its band reaches from the least to the most. */
function put(columns, length, value, samples) {
    for (const column of Object.values(columns)) {
        while (column.length < length) {
            column.push(null);
        }
    }
    if (typeof value !== 'number') {
        return;
    }
    const { mean, min, max } = columns;
    const end = length - 1;
    mean[end] = mean[end] === null ? value : mean[end] + (value - mean[end]) / samples;
    if (min && max) {
        min[end] = Math.min(min[end] ?? value, value);
        max[end] = Math.max(max[end] ?? value, value);
    }
}
