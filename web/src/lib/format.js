/* Numbers and times for people. Absent figures are a dash, never 0. */
import { hostNow } from './health.js';

export const ABSENT = '–';

export function bytes(value) {
    if (typeof value !== 'number') {
        return ABSENT;
    }
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let amount = Math.abs(value);
    let unit = 0;
    while (amount >= 1024 && unit < units.length - 1) {
        amount /= 1024;
        unit += 1;
    }
    const digits = unit === 0 || amount >= 100 ? 0 : 1;
    return `${value < 0 ? '−' : ''}${amount.toFixed(digits)} ${units[unit]}`;
}

export function mib(value) {
    return bytes(typeof value === 'number' ? value * 1024 * 1024 : value).replace('.0 ', ' ');
}

export function percent(value) {
    if (typeof value !== 'number') {
        return ABSENT;
    }
    return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}

export function count(value) {
    return typeof value === 'number' ? value.toLocaleString('en') : ABSENT;
}

export function seconds(value) {
    return typeof value === 'number' ? `${value.toFixed(value < 100 ? 1 : 0)} s` : ABSENT;
}

/* How long something took, from a millisecond to hours. */
export function span(ms) {
    if (typeof ms !== 'number' || Number.isNaN(ms)) {
        return ABSENT;
    }
    if (ms < 1000) {
        return `${Math.round(ms)} ms`;
    }
    const whole = Math.round(ms / 1000);
    return ms < 60000 ? seconds(ms / 1000) : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function time(iso) {
    const at = new Date(iso);
    return Number.isNaN(at.getTime())
        ? ABSENT
        : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

export function clock(iso) {
    const at = new Date(iso);
    return Number.isNaN(at.getTime())
        ? ABSENT
        : at.toLocaleTimeString(undefined, { hour12: false });
}

/* "in 12 minutes", "3 hours ago"; the largest unit that fits. */
export function fromNow(iso, now = hostNow()) {
    const left = (new Date(iso).getTime() - now) / 1000;
    if (Number.isNaN(left)) {
        return ABSENT;
    }
    const words = new Intl.RelativeTimeFormat('en', { numeric: 'always' });
    for (const [unit, size] of [
        ['day', 86400],
        ['hour', 3600],
        ['minute', 60],
    ]) {
        if (Math.abs(left) >= 2 * size) {
            return words.format(Math.round(left / size), unit);
        }
    }
    return words.format(Math.round(left), 'second');
}

export function plural(number, one, many = `${one}s`) {
    return `${count(number)} ${number === 1 ? one : many}`;
}

/* For a POSIX shell: inside single quotes everything but the quote itself is literal. */
export function shellQuote(text) {
    return `'${text.replaceAll("'", "'\\''")}'`;
}
