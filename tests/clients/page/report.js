/* What both pages share: the test says what to do in the fragment and hears how it went. */
export const config = JSON.parse(decodeURIComponent(location.hash.slice(1)));

export function report(result) {
    return fetch('/report', { method: 'POST', body: JSON.stringify(result) });
}

addEventListener('error', (event) => report({ error: String(event.message) }));
addEventListener('unhandledrejection', (event) => report({ error: String(event.reason) }));

export async function until(what, probe, ms = 60000) {
    const deadline = Date.now() + ms;
    while (!probe()) {
        if (Date.now() > deadline) {
            throw new Error(`${what} did not happen`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}
