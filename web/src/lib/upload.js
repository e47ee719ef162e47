/* Sends a file and tells how far it is; fetch() cannot. */
import { Problem, UNREACHABLE, toProblem } from './api.js';
import { here } from './place.js';

/* onProgress(sent, total). Throws a Problem; an AbortError when the signal fires. */
export function upload(path, file, { signal, onProgress }) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open('PUT', here(path));
        request.setRequestHeader('Accept', 'application/json, application/problem+json');
        request.setRequestHeader('Content-Type', 'application/octet-stream');
        request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
        request.onload = () => {
            const body = parse(request.responseText);
            if (request.status >= 200 && request.status < 300) {
                resolve(body);
            } else {
                reject(toProblem(answerOf(request), body));
            }
        };
        request.onerror = () =>
            reject(
                new Problem(
                    {
                        code: UNREACHABLE,
                        title: 'The upload broke off',
                        detail: 'The connection ended before the daemon had everything.',
                        remedy: 'Check that droverd runs and that the network is up, then upload it again.',
                    },
                    0,
                ),
            );
        request.onabort = () => reject(new DOMException('The upload was cancelled', 'AbortError'));
        signal?.addEventListener('abort', () => request.abort());
        request.send(file);
    });
}

function answerOf(request) {
    return {
        status: request.status,
        statusText: request.statusText,
        headers: { get: (name) => request.getResponseHeader(name) },
    };
}

function parse(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}
