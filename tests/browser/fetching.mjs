// Images that the daemon fetches from an address: checked first, with progress, refused in words.
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { axe, ok, test, until } from './harness.mjs';
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

/* A signed index of one entry, as `drover catalogue build` writes it, and the disk it names. */
export async function withCatalogue(picture, use) {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const key = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url').toString('base64');
    const index = Buffer.from(
        JSON.stringify({
            drover_catalogue: 1,
            entries: [
                {
                    name: `${name}-entry`,
                    title: 'A machine with a picture',
                    description: 'It shows <b>colours</b>.',
                    notes: 'Press a key.',
                    kind: 'disk',
                    format: 'raw',
                    architecture: 'x86_64',
                    screenshot: picture.toString('base64'),
                    files: {
                        content: {
                            path: 'disk.raw',
                            size_bytes: disk.length,
                            sha256: createHash('sha256').update(disk).digest('hex'),
                        },
                    },
                    vm: { memory_mib: 16, vsock: false },
                },
            ],
        }),
    );
    const files = {
        '/index.json': index,
        '/index.json.sig': Buffer.from(`${sign(null, index, privateKey).toString('base64')}\n`),
        '/disk.raw': disk,
    };
    const server = createServer((request, response) => {
        const body = files[request.url];
        const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
        const part = body?.subarray(Number(from ?? 0), to ? Number(to) + 1 : undefined);
        response.writeHead(!body ? 404 : from ? 206 : 200, {
            'Content-Length': part?.length ?? 0,
            ...(from && {
                'Content-Range': `bytes ${from}-${Number(from) + part.length - 1}/${body.length}`,
            }),
        });
        response.end(request.method === 'HEAD' ? undefined : part);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
        await use(key, `http://127.0.0.1:${server.address().port}/index.json`);
    } finally {
        server.closeAllConnections();
        server.close();
    }
}

test('a catalogue shows a picture and words, and runs an entry with one click', async () => {
    const ask = (method, path, body) =>
        page.evaluate(
            async ([how, where, what]) => {
                const answer = await fetch(where, {
                    method: how,
                    headers: { 'Content-Type': 'application/json' },
                    body: what && JSON.stringify(what),
                });
                return answer.status;
            },
            [method, path, body],
        );
    const picture = await page.screenshot({ clip: { x: 0, y: 0, width: 160, height: 100 } });
    const source = `${name}-book`;
    await withCatalogue(picture, async (key, url) => {
        ok(
            (await ask('POST', '/v1/catalogue-sources', { name: source, url, key })) === 201,
            'it is added',
        );
        await go(page, 'images', 'Images');
        await page.reload();
        const entry = page.locator(`.card[data-entry="${source}:${name}-entry"]`);
        await entry.getByText('It shows <b>colours</b>.').waitFor({ timeout: 20000 });
        await until('the picture is there', () =>
            entry.locator('img').evaluate((img) => img.complete && img.naturalWidth === 160),
        );
        ok((await entry.textContent()).includes('x86_64'), 'the facts are told');
        await axe(page, 'the catalogue');
        await shot(page, 'catalogue.png');
        await entry.getByRole('button', { name: 'Run A machine with a picture' }).click();
        await page.waitForURL(/#\/vms\//, { timeout: 20000 });
        const vm = decodeURIComponent(new URL(page.url()).hash.split('/').pop());
        await page.getByRole('heading', { level: 1, name: vm }).waitFor({ timeout: 20000 });
        const { items } = await page.evaluate(async () =>
            (await fetch('/v1/operations?limit=20')).json(),
        );
        ok(
            items.some((op) => op.kind === 'image.import'),
            'its image is fetched',
        );
        ok((await ask('DELETE', `/v1/vms/${vm}?force=true&wait=60`)) < 300, 'it goes');
        ok((await ask('DELETE', `/v1/catalogue-sources/${source}`)) < 300, 'the catalogue goes');
    });
});
