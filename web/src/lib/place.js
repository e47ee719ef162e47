/*
 * The project that is looked into: one's own or, for who may, another. The one place that adds
 * ?project= to an address.
 */
const KEY = 'drover-project';
let shown = null; /* null: one's own */

/* Addresses that are the same wherever one is. */
const EVERYWHERE = /^\/v1\/(session|projects)(\/|\?|$)|^\/v1$/;

export const projectShown = () => shown;

/* Nobody is signed in, or comes with a link: nothing is looked into. */
export function forgetPlace() {
    shown = null;
}

export const remembersPlace = () => sessionStorage.getItem(KEY) !== null;

/* name: null for one's own. It lasts as long as the tab. */
export function lookInto(name) {
    shown = name;
    if (name) {
        sessionStorage.setItem(KEY, name);
    } else {
        sessionStorage.removeItem(KEY);
    }
}

/* Where the tab was before it was loaded again; `names`: those there are, null when that is not known. */
export function lookAgain(names) {
    const before = sessionStorage.getItem(KEY);
    lookInto(!names || names.includes(before) ? before : null);
}

/* An address of the API, in the project that is shown. Takes a path and gives a path. */
export function here(path) {
    if (!shown || EVERYWHERE.test(path)) {
        return path;
    }
    return `${path}${path.includes('?') ? '&' : '?'}project=${encodeURIComponent(shown)}`;
}

/* The same of a WebSocket; `path` as above. */
export function socketHere(path) {
    const url = new URL(here(path), location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url;
}
