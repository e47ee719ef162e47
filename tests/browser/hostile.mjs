// What a guest, an image or another user may have written is text, wherever it is shown.
import { axe, equal, ok, test, until } from './harness.mjs';
import { api, go, makeVm, name, page } from './shared.mjs';

const BAD = [
    '<img src=x onerror=__pwned()>',
    '<script>__pwned()</script>',
    '"><svg onload=__pwned()>',
    "';__pwned();//",
    '{{__pwned()}}${__pwned()}',
    '<a href="javascript:__pwned()">x</a>',
    '</code></pre><iframe srcdoc="<script>parent.__pwned()</script>">',
    '<style>*{display:none}</style>',
    '\u202egnp.exe\u2066\u200b\ufeff',
    'x'.repeat(60),
    '\u0300'.repeat(30),
    '--><b>bold</b>',
];
const COUNT = 5000;
const DESCRIPTION_BYTES = 1000;
const hostile = []; /* ids of images */

/* Every one differs, so that none is left out as a repeat of another. */
const strings = Array.from({ length: COUNT }, (_, i) => `${i} ${BAD[i % BAD.length]}`);

/* So that commits are shared. */
async function inBatches(items, work) {
    for (let at = 0; at < items.length; at += 16) {
        await Promise.all(items.slice(at, at + 16).map((item, i) => work(item, at + i)));
    }
}

async function nothingHappened(where) {
    equal(await page.evaluate(() => window.__pwnedCount ?? 0), 0, `calls, ${where}`);
    const alien = await page.evaluate(
        () =>
            document.querySelectorAll(
                'main script, main iframe, main img:not([src^="/v1/"]), main style, main b, main [onload], main [onerror], main a[href^="javascript"]',
            ).length,
    );
    equal(alien, 0, `elements made of text, ${where}`);
}

test(`${COUNT} hostile strings stay text`, async () => {
    await go(page, '', 'Machines');
    await page.evaluate(() => {
        window.__pwned = () => {
            window.__pwnedCount = (window.__pwnedCount ?? 0) + 1;
        };
    });
    page.on('dialog', (dialog) => {
        throw new Error(`a dialog: ${dialog.message()}`);
    });
    const described = [];
    let next = 0;
    while (next < COUNT) {
        let text = '';
        while (next < COUNT && Buffer.byteLength(text + strings[next]) < DESCRIPTION_BYTES) {
            text += `${strings[next]} `;
            next += 1;
        }
        described.push(text.trim());
    }
    await inBatches(described, async (description, index) => {
        const named = `${name}-h${index}`;
        const image = await api('POST', '/v1/images', { name: named, kind: 'iso', description });
        hostile.push(image.id);
    });
    await makeVm({
        name: `${name}-hostile`,
        cpus: 1,
        memory_mib: 32,
        networks: [],
        start: false,
        description: strings.slice(0, 12).join(' ').slice(0, 900),
        labels: { 'hostile.example': BAD[0] },
    });
    await go(page, 'images', 'Images');
    await until(
        'all of them are shown',
        async () => (await page.locator('.card').count()) >= hostile.length,
        60000,
    );
    const shown = await page.locator('main').textContent();
    const missing = strings.filter((text) => !shown.includes(text.trim()));
    ok(missing.length === 0, `not shown as they are: ${missing.length}, first ${missing[0]}`);
    await nothingHappened('images');
    await go(page, `vms/${name}-hostile`, `${name}-hostile`);
    ok((await page.locator('main').textContent()).includes(BAD[0]), 'the description');
    await nothingHappened('a machine');
    await axe(page, 'a machine with a hostile description');
    await go(page, '', 'Machines');
    await page.getByLabel('Filter machines').fill('hostile');
    await nothingHappened('machines');
    await inBatches(hostile, (id) => api('DELETE', `/v1/images/${id}`));
});
