// Figures come by the stream: who only looks asks for nothing. And what the clock and a boot show.
import { createServer } from 'node:http';
import { equal, ok, test, until } from './harness.mjs';
import { watched } from './idle.mjs';
import { api, go, name, page, secondContext } from './shared.mjs';

test('figures move without a request, in the list and on the machine’s own page', async () => {
    const one = await watched({ address: '', heading: 'Machines' });
    const { id } = await api('GET', `/v1/vms/${name}`);
    const ticks = await one.on.evaluate(
        ([vm, wanted]) =>
            new Promise((resolve) => {
                let count = 0;
                const look = new MutationObserver((changes) => {
                    count += changes.some(({ target }) => target.closest(`.vm[data-id="${vm}"]`)) ? 1 : 0;
                    count >= wanted && resolve(count);
                });
                look.observe(document.body, { subtree: true, attributeFilter: ['d'] });
            }),
        [id, 3],
    );
    ok(ticks >= 3, 'the curve goes on');
    await go(one.on, `vms/${name}`, name);
    const sampled = one.on.locator('.facts > div', { hasText: 'Sampled' }).first().locator('dd');
    const before = await sampled.textContent();
    await until('the next sample', async () => (await sampled.textContent()) !== before);
    equal(one.asked.filter((line) => /\/stats(\?|$)/.test(line)).length, 1, 'the stream alone');
    await one.on.context().close();
});

test('a tab has one stream of figures, however many pages are looked at, and none while it is hidden', async () => {
    const on = await secondContext();
    let opened = 0;
    const open = new Set();
    on.on('request', (request) => {
        if (request.url().endsWith('/v1/stats') && request.headers().accept.includes('event-stream')) {
            opened += 1;
            open.add(request);
        }
    });
    const over = (request) => open.delete(request);
    on.on('requestfailed', over);
    on.on('requestfinished', over);
    await go(on, '', 'Machines');
    await until('the stream', () => open.size === 1);
    for (const [address, heading] of [
        ['memory', 'Memory'],
        [`vms/${name}`, name],
        ['', 'Machines'],
    ]) {
        await go(on, address, heading);
    }
    equal(opened, 1, 'streams that were opened');
    const hide = (state) =>
        on.evaluate((value) => {
            Object.defineProperty(document, 'visibilityState', { configurable: true, value });
            document.dispatchEvent(new Event('visibilitychange'));
        }, state);
    await hide('hidden');
    await until('no stream is open', () => open.size === 0);
    await hide('visible');
    await until('it is there again', () => open.size === 1);
    await on.context().close();
});

test('times are those of the reader’s own time zone', async () => {
    const { created_at: created } = await api('GET', `/v1/vms/${name}`);
    const shown = [];
    for (const timezoneId of ['Asia/Kolkata', 'America/St_Johns']) {
        const on = await secondContext({ timezoneId, locale: 'en-GB' });
        await go(on, `vms/${name}`, name);
        const words = await on
            .locator('.facts > div', { hasText: 'Created' })
            .locator('dd')
            .textContent();
        const wanted = new Date(created).toLocaleTimeString('en-GB', { timeZone: timezoneId });
        ok(words.endsWith(wanted), `in ${timezoneId}: ${words}, not ${wanted}`);
        shown.push(words);
        await on.context().close();
    }
    ok(shown[0] !== shown[1], 'two zones, two times');
});

test('the boot’s timeline tells when what was reached', async () => {
    await go(page, `vms/${name}`, name);
    const panel = page.locator('section', { has: page.getByRole('heading', { name: 'Last boot' }) });
    const facts = await api('GET', `/v1/vms/${name}/timeline`);
    const reached = panel.locator('[data-reached=yes]');
    await reached.filter({ hasText: 'Started' }).waitFor();
    for (const [member, words] of [
        ['first_output_at', 'First output'],
        ['kernel_at', 'Kernel'],
        ['userland_at', 'Userland'],
        ['ready_at', 'Ready'],
    ]) {
        const step = panel.locator('li', { hasText: words });
        const after = (new Date(facts[member]) - new Date(facts.started_at)) / 1000;
        const told = facts[member] ? `+${after.toFixed(after < 10 ? 2 : 1)} s` : 'not seen';
        await step.filter({ hasText: told }).waitFor();
    }
    ok(facts.first_output_at, 'its first output is known');
});

/* Half of what is asked for comes, and then nothing, until the server ends. */
async function withHalf(use) {
    const bytes = 1024 * 1024;
    const server = createServer((request, response) => {
        response.writeHead(200, { 'Content-Length': bytes, ETag: '"half"' });
        if (request.method === 'HEAD') {
            response.end();
        } else {
            response.write(Buffer.alloc(bytes / 2));
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
        await use(`http://127.0.0.1:${server.address().port}/half.raw`);
    } finally {
        server.closeAllConnections();
        server.close();
    }
}

test('an operation that goes on is cancelled by its button, after a question', async () => {
    await withHalf(async (url) => {
        const image = await api('POST', '/v1/images', {
            name: `${name}-half`,
            kind: 'disk',
            format: 'raw',
            source: { url, sha256: '0'.repeat(64) },
        });
        await go(page, 'activity', 'Activity');
        const button = page.getByRole('button', { name: `Cancel: import ${name}-half` });
        const line = page.locator('[data-operation]', { has: button });
        await line.getByText(/512 KiB of 1.0 MiB/).waitFor();
        const id = await line.getAttribute('data-operation');
        await button.click();
        await page.getByRole('dialog').getByRole('button', { name: 'Cancel it' }).click();
        await page.locator(`[data-operation="${id}"] .tag[data-state=cancelled]`).waitFor();
        equal((await api('GET', `/v1/operations/${id}`)).state, 'cancelled', 'in the API');
        await api('DELETE', `/v1/images/${image.id}`);
    });
});

test('operations older than the first page are shown, and what is gone keeps its name', async () => {
    const gone = await api('POST', '/v1/vms', { name: `${name}-gone`, memory_mib: 16, networks: [], start: true });
    const end = await api('DELETE', `/v1/vms/${gone.id}?force=true`);
    await api('GET', `/v1/operations/${end.id}?wait=30`);
    await page.reload();
    await go(page, 'activity', 'Activity');
    await page.locator(`[data-operation="${end.id}"]`).getByText(`${name}-gone`).waitFor();
    const on = await secondContext();
    /* Pages of a few, so that a suite's worth of operations has an older one. */
    await on.route('**/v1/operations?*', (route) =>
        route.continue({ url: route.request().url().replace(/limit=\d+/, 'limit=3') }),
    );
    await go(on, 'activity', 'Activity');
    const lines = on.locator('[data-operation]');
    await until('the first page', async () => (await lines.count()) === 3);
    await on.getByRole('region', { name: 'Operations' }).getByRole('button', { name: 'Older' }).click();
    await until('the second', async () => (await lines.count()) > 3);
    await on.context().close();
});
