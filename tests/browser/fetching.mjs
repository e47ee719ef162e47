// Images that the daemon fetches from an address: checked first, with progress, refused in words.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { axe, test, until } from './harness.mjs';
import { displayDisk } from './guest.mjs';
import { go, name, page, shot } from './shared.mjs';

const image = `${name}-fetched`;
const card = page.locator(`.card[data-image="${image}"]`);
const disk = displayDisk();

test('an image is checked, fetched with progress, and a wrong hash is told', async () => {
    /* The second half comes when the test says so, so that there is a progress to see. */
    let goOn;
    const hold = new Promise((resolve) => {
        goOn = resolve;
    });
    const server = createServer((request, response) => {
        const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
        const body = disk.subarray(Number(from ?? 0), to ? Number(to) + 1 : undefined);
        response.writeHead(from ? 206 : 200, {
            'Content-Length': body.length,
            'Accept-Ranges': 'bytes',
            ETag: '"disk"',
            ...(from && {
                'Content-Range': `bytes ${from}-${Number(from) + body.length - 1}/${disk.length}`,
            }),
        });
        if (request.method === 'HEAD' || body.length <= disk.length / 2) {
            response.end(request.method === 'HEAD' ? undefined : body);
            return;
        }
        response.write(body.subarray(0, body.length / 2));
        hold.then(() => response.end(body.subarray(body.length / 2)));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
        await fetchIt(`http://127.0.0.1:${server.address().port}/${image}.raw`, goOn);
    } finally {
        goOn();
        server.closeAllConnections();
        server.close();
    }
});

async function fetchIt(url, goOn) {
    await go(page, 'images', 'Images');
    const form = page.locator('form', { hasText: 'Fetch an image' });
    await form.getByLabel('Address').fill(url);
    await form.getByLabel('SHA-256 or SHA-512').fill('0'.repeat(64));
    await form.getByRole('button', { name: 'Check first' }).click();
    const found = form.locator('[role=status] .notice');
    await found.waitFor({ timeout: 30000 });
    await axe(page, 'an image is checked');
    await shot(page, 'images-check.png');
    if ((await found.textContent()).includes('fetch_private')) {
        return; /* this daemon fetches nothing from loopback, and says so */
    }
    await form.getByRole('button', { name: 'Fetch', exact: true }).click();
    await card.locator('progress').waitFor({ timeout: 20000 });
    await until('how far it is', async () => / of 1\.0 MiB/.test(await card.textContent()), 20000);
    await shot(page, 'images-fetching.png');
    goOn();
    const refusal = page.getByRole('alert').filter({ hasText: `Fetching ${image} did not work` });
    await refusal.waitFor({ timeout: 30000 });
    await refusal.getByRole('button', { name: 'Dismiss' }).click();
    await until(
        'it has failed',
        async () => (await card.locator('.tag').textContent()) === 'failed',
        20000,
    );
    await card.getByRole('button', { name: `Delete ${image}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card.waitFor({ state: 'detached', timeout: 20000 });

    await form.getByLabel('Address').fill(url);
    await form
        .getByLabel('SHA-256 or SHA-512')
        .fill(createHash('sha512').update(disk).digest('hex'));
    await form.getByRole('button', { name: 'Fetch', exact: true }).click();
    await until(
        'it is ready',
        async () => (await card.locator('.tag').textContent({ timeout: 20000 })) === 'ready',
        60000,
    );
    await card.getByRole('button', { name: `Delete ${image}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card.waitFor({ state: 'detached', timeout: 20000 });
}
