// Pools, leases and sets: who holds what until when, and the same machines for many.
import { axe, equal, ok, test, until } from './harness.mjs';
import { api, go, page, secondContext, shot } from './shared.mjs';

const tail = Math.random().toString(36).slice(2, 7);
const pool = `pool-${tail}`;
const set = `course-${tail}`;
const card = (kind, name) => page.locator(`[data-${kind}="${name}"]`);
const confirmWith = (words) =>
    page.locator('dialog').getByRole('button', { name: words, exact: true }).click();
const ready = async () => (await api('GET', `/v1/pools/${pool}`)).status.ready;

test('a pool is made with the form, fills, and is changed', async () => {
    await go(page, 'pools', 'Pools');
    const form = page.locator('form', { has: page.getByRole('heading', { name: 'New pool' }) });
    await form.getByLabel('Name').fill(pool);
    await form.getByLabel('Image').selectOption('');
    await form.getByLabel('Memory in MiB').fill('64');
    await form.getByLabel('Keep ready').fill('5');
    await form.getByLabel('At most, handed out ones included').fill('3');
    await form.getByRole('button', { name: 'Create' }).click();
    await page.locator('.field-error', { hasText: 'is more than max' }).waitFor();
    equal(await form.getByLabel('Name').inputValue(), pool, 'what was typed stays');
    await form.getByLabel('Keep ready').fill('1');
    await form.getByRole('button', { name: 'Create' }).click();
    await card('pool', pool).waitFor();
    /* The card may come by an event before the answer does. */
    await until(
        'the form is as at the beginning',
        async () =>
            (await form.getByLabel('Memory in MiB').inputValue()) === '512' &&
            (await form.getByLabel('Keep ready').inputValue()) === '1',
    );
    await until('one is ready', async () => (await ready()) === 1, 60000);
    await until('the page says so', async () =>
        (await card('pool', pool).textContent()).includes('1 of 1'),
    );
    await page.getByRole('button', { name: `Edit ${pool}` }).click();
    await page.getByLabel('At most, handed out ones included').fill('4');
    await page.getByRole('button', { name: 'Change', exact: true }).click();
    await until('four at most', async () => (await api('GET', `/v1/pools/${pool}`)).max === 4);
    await axe(page, 'pools');
    await shot(page, 'pools.png');
});

test('a machine is leased, renewed, looked up and given back', async () => {
    await go(page, 'leases', 'Leases');
    const form = page.locator('form', { has: page.getByRole('heading', { name: 'Ask for' }) });
    await form.getByLabel('Pool').selectOption(pool);
    await form.getByLabel('For', { exact: true }).selectOption('900');
    await form.getByLabel('Held by').fill('<b>Ada</b>');
    await form.getByRole('button', { name: 'Ask' }).click();
    const mine = page.locator('[data-lease]', { hasText: '<b>Ada</b>' });
    await mine.getByText(/^Ends in 14 minutes|^Ends in 15 minutes/).waitFor();
    equal(await mine.locator('b').count(), 0, 'a holder is text');
    await mine.getByRole('button', { name: /^Renew/ }).click();
    await page.locator('dialog').getByLabel('From now').selectOption('28800');
    await confirmWith('Renew');
    await mine.getByText(/^Ends in 8 hours/).waitFor();
    await axe(page, 'leases');
    await shot(page, 'leases.png');
    await mine.getByRole('button', { name: /^Record/ }).click();
    await page.locator('dialog .timeline').getByText('claimed').waitFor();
    await axe(page, 'the record of a lease');
    await page.locator('dialog').getByRole('button', { name: 'Close' }).click();
    await mine.getByRole('button', { name: /^Give back/ }).click();
    await confirmWith('Give back');
    await until('nobody holds it', async () => (await mine.count()) === 0);
    await page.getByLabel('Ended ones, too').check();
    await mine
        .first()
        .getByText(/given back/)
        .waitFor();
});

test('a pool is deleted, and says what is lost', async () => {
    await go(page, 'pools', 'Pools');
    await page.getByRole('button', { name: `Delete ${pool}` }).click();
    await page.locator('dialog').getByText('that wait in it are deleted').waitFor();
    await confirmWith('Delete');
    await until('it is gone', async () => (await card('pool', pool).count()) === 0);
});

test('a set shows its names while they are typed, and is made', async () => {
    await go(page, 'sets', 'Sets');
    const form = page.locator('form', { has: page.getByRole('heading', { name: 'New set' }) });
    await form.getByLabel('Name', { exact: true }).fill(set);
    await form.getByLabel('Members').fill('2');
    await form.getByRole('button', { name: 'Another machine' }).click();
    for (const nth of [0, 1]) {
        await form.getByLabel('Image').nth(nth).selectOption('');
        await form.getByLabel('Memory in MiB').nth(nth).fill('64');
    }
    await form.getByText('More settings').click();
    await form.getByLabel('Names of the machines').fill('same');
    await form.getByText(/gives two VMs the name/).waitFor();
    await form.getByLabel('Names of the machines').fill(`${set}-s{n:02}-{machine}`);
    await form.getByLabel('Addresses (optional)').fill('10.40.{n}.0/24');
    await form.getByText(`${set}-s02-pc2 (10.40.2.11/24)`).waitFor();
    await axe(page, 'sets, with a preview');
    await shot(page, 'sets-form.png');
    await form.getByRole('button', { name: 'Create' }).click();
    await card('set', set).waitFor();
    await until(
        'the form is as at the beginning',
        async () => (await form.getByLabel('Members').inputValue()) === '10',
    );
    await until(
        'all run',
        async () => (await card('set', set).textContent()).includes('4 of 4 run'),
        90000,
    );
    await shot(page, 'sets.png');
});

test('one member is reset while the other runs on', async () => {
    await page.getByRole('link', { name: set, exact: true }).click();
    await page.getByRole('heading', { level: 1, name: set }).waitFor();
    const before = await api('GET', `/v1/sets/${set}`);
    await page.getByRole('button', { name: 'Reset member 2' }).click();
    await page.locator('dialog').getByText('Others are not touched').waitFor();
    await confirmWith('Reset');
    const id = (member) => before.members[member - 1].vms[0].id;
    await until(
        'the second member began anew',
        async () =>
            (await api('GET', `/v1/operations?vm=${id(2)}`)).items.some(
                (o) => o.kind === 'vm.reimage' && o.state === 'succeeded',
            ),
        60000,
    );
    ok(
        (await api('GET', `/v1/operations?vm=${id(1)}`)).items.every((o) => o.kind === 'vm.create'),
        'the first was left alone',
    );
    await until(
        'the page is calm again',
        async () =>
            (await page.locator('main .panel').first().locator('.tag').textContent()) === 'running',
    );
    await axe(page, 'a set');
    await shot(page, 'set.png');
});

test('pools, leases and sets fit a phone, light and dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const on = await secondContext({
            viewport: { width: 360, height: 740 },
            hasTouch: true,
            colorScheme,
        });
        for (const [address, heading] of [
            ['pools', 'Pools'],
            ['leases', 'Leases'],
            ['sets', 'Sets'],
            [`sets/${set}`, set],
        ]) {
            await go(on, address, heading);
            const width = await on.evaluate(() => document.scrollingElement.scrollWidth);
            ok(width <= 360, `${heading} is ${width} wide`);
            await axe(on, `${heading}, phone, ${colorScheme}`);
            await shot(
                on,
                `phone-${address.split('/').length > 1 ? 'set' : address}-${colorScheme}.png`,
            );
        }
        await on.context().close();
    }
});

test('a set is deleted with all its machines', async () => {
    await go(page, 'sets', 'Sets');
    await page.getByRole('button', { name: `Delete ${set}` }).click();
    await page.locator('dialog').getByText('4 machines').waitFor();
    await confirmWith('Delete');
    await until('it is gone', async () => (await card('set', set).count()) === 0, 60000);
    equal((await api('GET', `/v1/vms?set=${set}`)).items.length, 0, 'machines left');
});
