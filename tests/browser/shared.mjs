// What all parts of the suite share: one browser, one signed-in page, one machine.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { env, newPage, openBrowser, until } from './harness.mjs';

export const shots = path.join(path.dirname(fileURLToPath(import.meta.url)), 'shots');
mkdirSync(shots, { recursive: true });
export const name = `browser-${Math.random().toString(36).slice(2, 8)}`;
export const browser = await openBrowser();
export const page = await newPage(browser);

export const row = (on = page) =>
    on.locator('.vm', { has: on.getByRole('link', { name, exact: true }) });
export const stateOf = async (on = page) =>
    await row(on).locator('.tag').textContent({ timeout: 5000 });
export const screen = async (on) =>
    (await on.locator('.xterm-rows > div').allTextContents()).map((line) =>
        line.replaceAll('\u00a0', ' ').trimEnd(),
    );
export const shows = (on, text, ms = 20000) =>
    until(
        `the console shows ${JSON.stringify(text)}`,
        async () => (await screen(on)).some((line) => line.includes(text)),
        ms,
    );
export const go = async (on, address, heading) => {
    await on.goto(`${env.url}/#/${address}`);
    await on.getByRole('heading', { level: 1, name: heading }).waitFor();
};
export const shot = (on, file) => on.screenshot({ path: path.join(shots, file) });
export const focused = (on) =>
    on.evaluate(() => {
        const at = document.activeElement;
        return [
            at.tagName.toLowerCase(),
            at.getAttribute('aria-label') ?? at.textContent.trim(),
        ].join(' ');
    });
export const secondContext = async (options) =>
    newPage(browser, { storageState: await page.context().storageState(), ...options });

/*
 * Nothing under this path is answered, but the first `passed` times, until what this gives is called: so a page
 * can be seen before, say, its machines are there.
 */
export async function hold(on, path, passed = 0) {
    let open;
    let asked = 0;
    const gate = new Promise((resolve) => {
        open = resolve;
    });
    const isMeant = ({ pathname }) => pathname === path;
    const held = async (route) => {
        asked += 1;
        if (asked > passed) {
            await gate;
        }
        await route.fallback();
    };
    await on.route(isMeant, held);
    return async () => {
        open();
        await on.unroute(isMeant, held);
    };
}

/* The API with the page's own session, so that it works with a link's code alone. */
export async function api(method, path, body) {
    const sent = Buffer.isBuffer(body) ? { raw: body.toString('base64') } : { json: body };
    const answer = await page.evaluate(
        async ([verb, where, { raw, json }]) => {
            const bytes = raw && Uint8Array.from(atob(raw), (c) => c.charCodeAt(0));
            const response = await fetch(where, {
                method: verb,
                headers: {
                    'Content-Type': raw ? 'application/octet-stream' : 'application/json',
                },
                body: bytes ?? (json === undefined ? undefined : JSON.stringify(json)),
            });
            const text = await response.text();
            return { status: response.status, text };
        },
        [method, path, sent],
    );
    if (answer.status >= 400) {
        throw new Error(`${method} ${path} answered ${answer.status}: ${answer.text}`);
    }
    return answer.text ? JSON.parse(answer.text) : undefined;
}

const made = [];
/* Taken away at the end, however it ends. */
export async function makeVm(definition) {
    const vm = await api('POST', '/v1/vms', definition);
    made.push(`/v1/vms/${vm.id}?force=true`);
    if (!definition.start) {
        return vm;
    }
    await until(
        `${definition.name} runs`,
        async () => (await api('GET', `/v1/vms/${vm.id}`)).state === 'running',
        60000,
    );
    return vm;
}

export async function makeImage(definition, content) {
    const image = await api('POST', '/v1/images', definition);
    made.unshift(`/v1/images/${image.id}`);
    await api('PUT', `/v1/images/${image.id}/content`, content);
    return image;
}

export async function takeAway() {
    for (const path of made.reverse()) {
        try {
            const operation = await api('DELETE', path);
            if (operation?.id) {
                await api('GET', `/v1/operations/${operation.id}?wait=30`);
            }
        } catch (error) {
            console.log(`# ${error.message}`);
        }
    }
    made.length = 0;
}
