// Memory and charts: what merging saves, what still fits, how the figures were, and which are old.
import { env, equal, ok, test, until } from './harness.mjs';
import { picture } from './pictures.mjs';
import { api, go, hold, makeVm, name, page, row, secondContext, shot } from './shared.mjs';

const OLD_REASON = 'QEMU has not answered';

const drawn = (on, nth = 0) =>
    on
        .locator('.plot canvas')
        .nth(nth)
        .evaluate((canvas) =>
            canvas
                .getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height)
                .data.some((value) => value !== 0),
        );

test('the memory page tells what is needed, used and saved, and what still fits', async () => {
    await go(page, 'memory', 'Memory');
    const density = await api('GET', '/v1/ksm/density');
    const group = density.groups.find((g) => g.name === env.image);
    ok(group.fits_more.count > 0, 'another of the same fits');
    await until('the group', async () =>
        /\d+ until (memory|the overcommit limit)/.test(
            await page.getByRole('row', { name: env.image }).first().textContent(),
        ),
    );
    const bars = page.locator('.bars');
    for (const text of ['Promised to machines', 'Needed without merging', 'In use']) {
        const bar = bars.locator('.bar', { hasText: text });
        ok(/\d (KiB|MiB|GiB)/.test(await bar.locator('.figure').textContent()), text);
        ok(Number(await bar.locator('.bar-fill').getAttribute('width')) > 0, `the bar ${text}`);
    }
    const machine = page
        .getByRole('region', { name: 'Merging by machine' })
        .getByRole('row', { name });
    await until('a machine that does not merge says why', async () => {
        const { vms } = await api('GET', '/v1/ksm/density');
        const words = await machine.locator('.why').allTextContents();

        return vms.find((v) => v.name === name).ksm.cause === 'merging' || words[0]?.length > 20;
    });
    ok(
        /CPU time per GiB saved now/.test(await page.textContent('main')),
        'the cost stands beside it',
    );
});

test('the tuner’s last decisions are shown with their reasons', async () => {
    const { tuner } = await api('GET', '/v1/ksm');
    ok(tuner.decisions.length > 0, 'there are decisions');
    await until('the newest decision', async () =>
        (await page.locator('.decisions').textContent()).includes(tuner.decisions[0].reason),
    );
});

test('groups may be made by a label', async () => {
    const vm = await api('GET', `/v1/vms/${name}`);
    const made = await api('POST', '/v1/vms', {
        name: `${name}-l`,
        labels: { course: 'linux-1' },
        memory_mib: 64,
    });
    const machines = await hold(page, '/v1/vms');
    const density = await hold(page, '/v1/ksm/density', 1);
    try {
        await page.goto('about:blank');
        await go(page, 'memory', 'Memory');
        const by = page.getByLabel('Group by');
        const course = by.locator('option[value="label.course"]');
        equal(await course.count(), 0, 'offers of the label before the machines are known');
        await machines();
        await until('the labels, without another look at the density', async () =>
            (await course.count()) === 1,
        );
        await density();
        await by.selectOption('label.course');
        await page.getByRole('row', { name: /without this label/ }).waitFor();
        equal(await by.inputValue(), 'label.course', 'what was chosen');
        await by.focus();
        const read = page.waitForResponse(
            (r) => r.url().endsWith(`/v1/vms/${made.id}`) && r.request().method() === 'GET',
        );
        await api('PATCH', `/v1/vms/${made.id}`, { labels: { course: 'linux-1', room: '7' } });
        await read;
        await by.blur();
        await by.locator('option[value="label.room"]').waitFor({ state: 'attached' });
        equal(await by.inputValue(), 'label.course', 'what was chosen, when there is more to choose from');
        ok(vm.state === 'running', 'the machine runs');
    } finally {
        await machines();
        await density();
        await api('DELETE', `/v1/vms/${name}-l`);
    }
});

test('charts are loaded when they come into view, and draw what was measured', async () => {
    const on = await secondContext({ viewport: { width: 1100, height: 700 } });
    const asked = [];
    on.on('request', (r) => asked.push(r.url()));
    await go(on, '', 'Machines');
    await row(on).waitFor();
    ok(!asked.some((url) => /\/plot-/.test(url)), 'the list does without the charts');
    await go(on, `vms/${name}`, name);
    await on.getByRole('heading', { name: 'Over time' }).scrollIntoViewIfNeeded();
    await until('the first chart', async () => (await on.locator('.plot canvas').count()) > 0);
    await until('its curve', () => drawn(on));
    ok(
        asked.some((url) => /\/plot-/.test(url)),
        'the charts were loaded',
    );
    const chart = on.getByRole('img', { name: /^CPU, of one: CPU [\d.]+ % at the end/ });
    await chart.waitFor();
    for (const [range, seconds] of [
        ['Day', 86400],
        ['Month', 30 * 86400],
        ['Hour', 3600],
    ]) {
        asked.length = 0;
        await on.getByRole('button', { name: range, exact: true }).click();
        /* The range before may have asked once more meanwhile. */
        await until(`history of a ${range}`, () =>
            asked.some((url) => {
                const from = Number(new URL(url).searchParams.get('from'));

                return (
                    url.includes('/stats/history') &&
                    Math.abs(Date.now() / 1000 - from - seconds) < 60
                );
            }),
        );
        equal(
            await on.getByRole('button', { name: range, exact: true }).getAttribute('aria-pressed'),
            'true',
            'the range chosen',
        );
    }
    await on.locator('.past').scrollIntoViewIfNeeded();
    await shot(on, 'charts.png');
    const over = on.locator('.plot .u-over').first();
    const box = await over.boundingBox();
    await on.mouse.move(box.x + box.width - 3, box.y + 20);
    await until('the time under the pointer', async () =>
        /\d/.test(await on.locator('.plot-when').first().textContent()),
    );
    await on.context().close();
});

/* The daemon's own samples, said to be old: all of them, or as one tick of the stream. */
async function oldFigures(route) {
    const headers = { ...route.request().headers(), accept: 'application/json' };
    const answer = await route.fetch({ headers });
    const { sampled_at, items } = await answer.json();
    if (!route.request().headers().accept.includes('event-stream')) {
        const old = items.map((item) => ({ ...item, stale: true, stale_reason: OLD_REASON }));
        await route.fulfill({ response: answer, json: { sampled_at, items: old } });
        return;
    }
    const tick = {
        tick: Date.parse(sampled_at),
        sampled_at,
        part: 1,
        parts: 1,
        host: { running: items.length },
        items: items.map(({ vm_id, memory }) => ({
            vm_id,
            at: Date.parse(sampled_at),
            stale: true,
            promised_bytes: memory.promised_bytes,
            resident_bytes: memory.resident_bytes,
            ksm_cause: 'off',
        })),
    };
    await route.fulfill({
        contentType: 'text/event-stream',
        body: `data: ${JSON.stringify(tick)}\n\n`,
    });
}

test('old figures are marked, in the list, on the memory page and on the machine’s own', async () => {
    const on = await secondContext();
    await on.route('**/v1/stats', oldFigures);
    await go(on, '', 'Machines');
    await row(on).locator('.vm-figures.old-figures').waitFor();
    await go(on, `vms/${name}`, name);
    await on.getByText(OLD_REASON).waitFor();
    await go(on, 'memory', 'Memory');
    await on.getByRole('row', { name }).getByText('old figures').first().waitFor();
    /* One may be on its way: the page asks again and again. */
    await on.unrouteAll({ behavior: 'ignoreErrors' });
    await on.context().close();
});

const MIB = 2 ** 20;
const UNITS = { B: 1, KiB: 2 ** 10, MiB: MIB, GiB: 2 ** 30 };
const savedOn = async (on) => {
    const [number, unit] = (await on.locator('.hero .big').textContent()).split(' ');
    return Number(number) * UNITS[unit];
};

test('KSM is watched as it saves: the figure rises on the page while guests merge', async () => {
    const found = await api('GET', '/v1/ksm');
    if (!found.available || env.guest !== 'linux') {
        console.log('# this kernel has no KSM, or the guests have nothing alike');
        return;
    }
    const runs = found.knobs.run === 1;
    const on = await secondContext();
    await go(on, 'memory', 'Memory');
    await on.evaluate(() => {
        window.__notReloaded = true;
    });
    await until('a figure', async () => (await savedOn(on)) >= 0);
    const before = await savedOn(on);
    try {
        if (!runs) {
            const knobs = { run: 1, pages_to_scan: 2000 };
            await api('PATCH', '/v1/ksm', { tuner: { mode: 'static' }, knobs });
        }
        await makeVm({
            name: `${name}-second`,
            image: env.image,
            memory_mib: 128,
            networks: [],
            start: true,
        });
        await until(
            'more is saved than before',
            async () => (await savedOn(on)) > before + 4 * MIB,
            120000,
        );
        const twin = on.getByRole('row', { name: `${name}-second` });
        await until('a twin merges', async () => /merging/.test(await twin.textContent()), 60000);
        ok(await on.evaluate(() => window.__notReloaded), 'the page was not reloaded');
        await picture(on, 'density');
    } finally {
        if (!runs) {
            const { run, pages_to_scan } = found.knobs;
            await api('PATCH', '/v1/ksm', { knobs: { run, pages_to_scan } });
            await api('PATCH', '/v1/ksm', { tuner: { mode: found.tuner.mode } });
        }
        await on.context().close();
    }
});

test('a phone shows the machines as the documents do', async () => {
    const on = await secondContext({
        viewport: { width: 360, height: 740 },
        deviceScaleFactor: 1.5,
        hasTouch: true,
    });
    await go(on, '', 'Machines');
    await until('a curve', async () =>
        ((await row(on).locator('.spark-cpu .spark-line').getAttribute('d')) ?? '').includes('L'),
    );
    await picture(on, 'phone');
    await on.context().close();
});
