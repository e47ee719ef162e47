// A browser, a signed-in context, and tests that run in order and print TAP.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const env = {
    url: process.env.DROVER_URL.replace(/\/$/, ''),
    token: process.env.DROVER_TOKEN,
    code: process.env.DROVER_CODE,
    image: process.env.DROVER_IMAGE ?? 'demo',
    guest: process.env.DROVER_GUEST ?? 'linux',
    restart: process.env.DROVER_RESTART,
    cli: process.env.DROVER_CLI,
};
export const BOOT_MS = 120000;

/* What no page may ever do; looked at by the last test. */
export const seen = { csp: [], errors: [], foreign: [], console: [] };

export async function openBrowser() {
    return chromium.launch({
        executablePath: process.env.CHROMIUM,
        args: [
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
        ],
    });
}

export const newPage = (browser, options = {}) => newPageAt(browser, env.url, options);

/* origin: where its requests go; null: where the daemon is. */
export async function newPageAt(browser, origin, options = {}) {
    const home = new URL(origin ?? env.url).origin;
    const context = await browser.newContext({
        viewport: { width: 1280, height: 860 },
        ...options,
    });
    await context.exposeFunction('__violation', (text) => seen.csp.push(text));
    await context.addInitScript(() => {
        addEventListener('securitypolicyviolation', (event) => {
            window.__violation(
                `${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`,
            );
        });
        window.__sockets = []; /* so that a test can break a connection */
        window.WebSocket = new Proxy(window.WebSocket, {
            construct(Real, args) {
                const socket = new Real(...args);
                window.__sockets.push(socket);
                return socket;
            },
        });
    });
    context.setDefaultTimeout(30000);
    const page = await context.newPage();
    page.on('pageerror', (error) => seen.errors.push(String(error.stack ?? error)));
    page.on('console', (message) => {
        if (
            message.type() === 'error' &&
            !/Failed to load resource|WebSocket connection to/.test(message.text())
        ) {
            seen.console.push(message.text());
        }
    });
    page.on('request', (request) => {
        const { protocol, origin: to } = new URL(request.url());
        if (!['data:', 'blob:'].includes(protocol) && to !== home) {
            seen.foreign.push(request.url());
        }
    });
    return page;
}

export async function signInCode() {
    if (!env.token) {
        return env.code;
    }
    const response = await fetch(`${env.url}/v1/session/codes`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${env.token}`, 'Content-Type': 'application/json' },
        body: '{}',
    });
    if (response.status !== 201) {
        throw new Error(
            `POST /v1/session/codes answered ${response.status}: ${await response.text()}`,
        );
    }
    return (await response.json()).code;
}

/* Violations of the rules that are about people, not about style. */
export async function axe(page, where) {
    await page.evaluate(axeSource);
    const { violations } = await page.evaluate(() =>
        window.axe.run(document, {
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        }),
    );
    const lines = violations.flatMap((v) =>
        v.nodes.map(
            (n) => `${where}: ${v.id}: ${n.target} ${n.failureSummary.replaceAll('\n', ' ')}`,
        ),
    );
    if (lines.length) {
        throw new Error(lines.join('\n'));
    }
}

export async function until(what, probe, ms = 30000) {
    const deadline = Date.now() + ms;
    let last;
    for (;;) {
        last = await probe();
        if (last) {
            return last;
        }
        if (Date.now() > deadline) {
            throw new Error(`${what}: not within ${ms} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

export function equal(actual, expected, what) {
    if (actual !== expected) {
        throw new Error(
            `${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`,
        );
    }
}

export function ok(value, what) {
    if (!value) {
        throw new Error(what);
    }
}

const tests = [];
export const test = (name, fn) => tests.push([name, fn, false]);
/* One that later tests stand on: when it fails they are not tried, since each would only time out. */
export const foundation = (name, fn) => tests.push([name, fn, true]);

export async function runAll(filters, onFailure) {
    let passed = 0;
    let failed = 0;
    const chosen = tests.filter(
        ([name, , always]) =>
            always || filters.length === 0 || filters.some((f) => name.includes(f)),
    );
    console.log(`1..${chosen.length}`);
    let broken = false;
    for (const [name, fn, isFoundation] of chosen) {
        const number = passed + failed + 1;
        const begun = Date.now();
        try {
            if (broken) {
                throw new Error('not tried: a test that this one stands on failed');
            }
            await fn();
            passed += 1;
            console.log(`ok ${number} - ${name} # ${Date.now() - begun} ms`);
        } catch (error) {
            failed += 1;
            broken ||= isFoundation;
            console.log(`not ok ${number} - ${name}`);
            console.log(
                String(error.stack ?? error)
                    .split('\n')
                    .slice(0, 30)
                    .map((line) => `# ${line}`)
                    .join('\n'),
            );
            await onFailure?.(name);
        }
    }
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0;
}
