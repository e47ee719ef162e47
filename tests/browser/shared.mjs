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
