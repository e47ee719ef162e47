/* The API as the browser uses it: same origin, session cookie, problems as errors. */

import { health } from './health.js';
import { here } from './place.js';

/* An RFC 9457 problem. What is not one (network down, a proxy's page) is dressed as one. */
export class Problem extends Error {
    constructor(document, status) {
        super(document.title || `HTTP ${status}`);
        this.name = 'Problem';
        this.status = status;
        this.code = document.code ?? '';
        this.title = document.title || `The server answered ${status}`;
        this.detail = document.detail ?? '';
        this.remedy = document.remedy ?? '';
        this.pointer = document.pointer ?? '';
        this.retry = Boolean(document.retry);
        this.requestId = String(document.instance ?? '').replace(/^urn:drover:request:/, '');
    }
}

/* What may be over by itself: nobody answered, too much at once, the daemon's own trouble. */
export const isPassing = ({ status, retry }) => retry || !status || status === 429 || status >= 500;

export const UNREACHABLE = 'unreachable';
let onSignedOut = () => {};
export function whenSignedOut(fn) {
    onSignedOut = fn;
}

/* Answers the parsed body (undefined when there is none). Throws a Problem. */
export async function request(method, path, { body, headers, signal, quiet401 } = {}) {
    const { response, data } = await exchange(method, path, { body, headers, signal });
    if (!response.ok) {
        const problem = toProblem(response, data);
        if (response.status === 401 && !quiet401) {
            onSignedOut(problem);
        }
        throw problem;
    }
    return data;
}

async function exchange(method, path, { body, headers, signal }) {
    const sent = { Accept: 'application/json, application/problem+json', ...headers };
    if (body !== undefined) {
        sent['Content-Type'] = 'application/json';
    }
    const over = isPatient(method, path) ? null : health.begin();
    let response;
    try {
        response = await fetch(here(path), {
            method,
            signal,
            headers: sent,
            cache: 'no-store',
            credentials: 'same-origin',
            body: body === undefined ? undefined : JSON.stringify(body),
        });
        const text = await response.text();
        return { response, data: parse(text) };
    } catch (error) {
        if (error.name === 'AbortError') {
            throw error;
        }
        response = null;
        throw new Problem(
            {
                code: UNREACHABLE,
                title: 'The daemon cannot be reached',
                detail: 'The request got no answer, so it is not known whether it took effect.',
                remedy: 'Check that droverd runs and that the network is up, then try again.',
                retry: true,
            },
            0,
        );
    } finally {
        over?.(response);
    }
}

/* Asked to wait for something, so that a late answer says nothing about the daemon. */
function isPatient(method, path) {
    return /[?&]wait=/.test(path) || (method === 'POST' && /\/(exec|dirty-rate)$/.test(path));
}

function parse(text) {
    if (text === '') {
        return undefined;
    }
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

export function toProblem(response, data) {
    const isProblem = data && typeof data === 'object' && typeof data.title === 'string';
    const document = isProblem ? data : { detail: response.statusText };
    const problem = new Problem(document, response.status);
    problem.requestId ||= response.headers.get('X-Request-Id') ?? '';
    return problem;
}

export const get = (path, options) => request('GET', path, options);
export const del = (path, options) => request('DELETE', path, options);

/* Every POST carries a key, so that a repeated press or a lost answer acts once. */
export function post(path, body, { key = randomKey(), ...options } = {}) {
    return request('POST', path, {
        ...options,
        body,
        headers: { 'Idempotency-Key': key, ...options.headers },
    });
}

export function randomKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/* Follows next_cursor to the end. */
export async function listAll(path, options) {
    const items = [];
    let cursor = null;
    do {
        const url = new URL(path, location.origin);
        if (cursor) {
            url.searchParams.set('cursor', cursor);
        }
        const page = await get(url.pathname + url.search, options);
        items.push(...page.items);
        cursor = page.next_cursor;
    } while (cursor);
    return items;
}
