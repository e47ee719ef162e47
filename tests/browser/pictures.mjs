// The pictures that the documents show. Each is made here, and beside them it is kept what was on the page: its
// headings, its columns, its controls. When the page has others, its picture is out of date and the test says so.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { equal, ok } from './harness.mjs';
import { name, shots } from './shared.mjs';

const MOST_BYTES = 200 * 1000;
const docs = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../docs');
const made = process.env.DROVER_PICTURES === 'update' ? docs : path.join(shots, 'docs');

const read = (folder) => {
    try {
        return JSON.parse(readFileSync(path.join(folder, 'pictures.json'), 'utf8'));
    } catch {
        return {};
    }
};

/* What of a page does not depend on what its host has or does just now. */
const structure = (on, ours) =>
    on.evaluate((prefix) => {
        const places = 'header nav a, main :is(h1, h2, h3, th, button, summary, dt, label)';
        const changing =
            '.glance, .herd, .shelf, .page-actions, .pane, .stream-bar, .facts, form, tbody, .sums, .chips';
        const words = [...document.querySelectorAll(places)]
            .filter((element) => element.checkVisibility() && !element.closest(changing))
            .map((element) => {
                const kind = element.tagName.toLowerCase();
                const text = (element.getAttribute('aria-label') ?? element.textContent).trim();
                return `${kind} ${text.replaceAll(new RegExp(`${prefix}[-\\w]*`, 'g'), 'NAME').replace(/\d+/g, '#')}`;
            });
        return [...new Set(words)].sort();
    }, ours);

/* Machines are called what a reader would call them, for the moment. */
const rename = (on, ours) =>
    on.evaluate((prefix) => {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        window.__renamed = [];
        while (walker.nextNode()) {
            const text = walker.currentNode;
            if (text.data.includes(prefix)) {
                window.__renamed.push([text, text.data]);
                text.data = text.data.replaceAll(`${prefix}-`, 'web-').replaceAll(prefix, 'web-1');
            }
        }
    }, ours);

const nameBack = (on) =>
    on.evaluate(() => window.__renamed.forEach(([text, data]) => Object.assign(text, { data })));

export async function picture(on, title) {
    const now = await structure(on, name);
    await rename(on, name);
    const bytes = await on.screenshot();
    await nameBack(on);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const kept = read(docs)[title];
    mkdirSync(made, { recursive: true });
    writeFileSync(path.join(made, `${title}.png`), bytes);
    const record = { ...read(made), [title]: { sha256, structure: now } };
    writeFileSync(path.join(made, 'pictures.json'), `${JSON.stringify(record, null, 1)}\n`);
    ok(bytes.length < MOST_BYTES, `${title}.png has ${bytes.length} bytes`);
    if (made === docs) {
        return;
    }
    const how = 'run the suite with DROVER_PICTURES=update, look at docs/*.png and commit them';
    ok(kept, `docs/pictures.json knows nothing of ${title}: ${how}`);
    const news = now.filter((line) => !kept.structure.includes(line));
    const gone = kept.structure.filter((line) => !now.includes(line));
    ok(
        news.length + gone.length === 0,
        `docs/${title}.png does not show the page any more: ${how}\n` +
            [...news.map((line) => `now has: ${line}`), ...gone.map((line) => `had: ${line}`)].join('\n'),
    );
    const committed = createHash('sha256').update(readFileSync(path.join(docs, `${title}.png`)));
    equal(committed.digest('hex'), kept.sha256, `docs/${title}.png is the picture that was made`);
}
