/*
 * asciicast v2: a header line, then [seconds, kind, data] lines. Pure: parsing, and where in it a
 * moment is. A last line that is cut off (the recording goes on, or its writer died) is left out.
 */
export function parseCast(text) {
    const end = text.indexOf('\n');
    const header = JSON.parse(end < 0 ? text : text.slice(0, end));
    if (header?.version !== 2) {
        throw new Error('This is no asciicast of version 2.');
    }
    const events = [];
    let at = end < 0 ? text.length : end + 1;
    let last = 0;
    while (at < text.length) {
        let next = text.indexOf('\n', at);
        next = next < 0 ? text.length : next;
        const event = parseLine(text.slice(at, next));
        at = next + 1;
        if (event) {
            last = Math.max(last, event.time); /* clocks only go forward */
            events.push({ ...event, time: last });
        }
    }
    return { columns: size(header.width, 80), rows: size(header.height, 24), header, events };
}

function parseLine(line) {
    try {
        const [time, kind, data] = JSON.parse(line);
        const good = typeof time === 'number' && time >= 0 && typeof data === 'string';
        return good ? { time, kind, data } : null;
    } catch {
        return null;
    }
}

function size(value, usual) {
    return Number.isInteger(value) && value > 0 && value <= 500 ? value : usual;
}

/* When each event is shown if no pause may be longer than `limit` seconds (0: as it was). */
export function schedule(events, limit) {
    const times = new Float64Array(events.length);
    let skipped = 0;
    let before = 0;
    events.forEach((event, index) => {
        const pause = event.time - before;
        if (limit > 0 && pause > limit) {
            skipped += pause - limit;
        }
        before = event.time;
        times[index] = event.time - skipped;
    });
    return times;
}

/* How many events are at or before a moment. */
export function countUntil(times, moment) {
    let low = 0;
    let high = times.length;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (times[middle] <= moment) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* "120x40" of a resize event. */
export function resizeOf(event) {
    const match = event.kind === 'r' ? /^(\d{1,3})x(\d{1,3})$/.exec(event.data) : null;
    return match && Number(match[1]) > 0 && Number(match[2]) > 0
        ? { columns: Number(match[1]), rows: Number(match[2]) }
        : null;
}
