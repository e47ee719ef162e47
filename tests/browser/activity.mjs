// Operations and the event log; the wall of consoles; a token of some scopes only.
import { BOOT_MS, axe, env, equal, ok, test, until } from './harness.mjs';
import { api, go, name, page, shot } from './shared.mjs';

test('what is done and what happened is on one page, found by words, and live', async () => {
    await go(page, 'activity', 'Activity');
    const operations = page.getByRole('region', { name: 'Operations' });
    const log = page.getByRole('region', { name: 'Event log' });
    await operations.getByRole('link', { name, exact: true }).first().waitFor();
    await operations.getByLabel('State of the operation').selectOption('succeeded');
    await until(
        'only those that succeeded',
        async () =>
            (await operations.locator('.tag').count()) > 0 &&
            (await operations.locator('.tag:not([data-state=succeeded])').count()) === 0,
    );
    await log.locator('li').first().waitFor();
    const made = await api('POST', '/v1/vms', {
        name: `${name}-logged`,
        memory_mib: 32,
        networks: [],
    });
    await log.getByLabel('Search the event log').fill(`${name}-logged`);
    await log.locator('li').filter({ hasText: 'vm.created' }).waitFor();
    const [download] = await Promise.all([
        page.waitForEvent('download'),
        log.getByRole('button', { name: 'Download as JSON' }).click(),
    ]);
    equal(download.suggestedFilename(), 'drover-events.json', 'the file');
    await api('DELETE', `/v1/vms/${made.id}`);
    await log.locator('li').filter({ hasText: 'vm.deleted' }).waitFor();
    await axe(page, 'activity');
    await shot(page, 'activity.png');
});

test('above the list stands what needs a look and what happened last, and both follow', async () => {
    await go(page, '', 'Machines');
    const last = page.getByRole('region', { name: 'What happened last' });
    const short = page.getByRole('region', { name: 'What needs a look' });
    await last.locator('li').first().waitFor();
    ok((await last.locator('li').count()) <= 3, 'a few lines');
    const made = await api('POST', '/v1/vms', {
        name: `${name}-new`,
        memory_mib: 32,
        networks: [],
    });
    await last
        .locator('li')
        .filter({ hasText: `${name}-new` })
        .first()
        .waitFor();
    await api('DELETE', `/v1/vms/${made.id}`);
    await last.locator('li').filter({ hasText: 'deleted' }).first().waitFor();
    const { items: checks } = await api('GET', '/v1/host/checks');
    for (const { title } of checks.filter((check) => check.result !== 'ok')) {
        await short.getByRole('link', { name: title, exact: true }).first().waitFor();
    }
    await axe(page, 'at a glance');
    await shot(page, 'glance.png');
});

test('running machines at a glance: what their consoles print, as it comes', async () => {
    await go(page, '', 'Machines');
    await page.reload(); /* so that no console is open */
    await go(page, 'consoles', 'Consoles');
    const thumb = page.locator('.thumbs li', { hasText: name }).first();
    await thumb.waitFor();
    const words = env.guest === 'linux' ? '#' : '42';
    await until(
        'its console is on the wall',
        async () => (await thumb.locator('.thumb-screen').textContent()).includes(words),
        BOOT_MS,
    );
    const sockets = await page.evaluate(() => window.__sockets.length);
    equal(sockets, 0, 'sockets that the wall needs');
    await axe(page, 'wall of consoles');
    await shot(page, 'wall.png');
    await thumb.getByRole('button', { name: `Open the console of ${name}` }).click();
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    await page.getByRole('button', { name: `Close Console of ${name}` }).click();
    await thumb.waitFor();
});

test('a token of some scopes, and one that asks for more than its role has', async () => {
    await go(page, 'tokens', 'Access');
    await page.getByLabel('Name', { exact: true }).fill(`${name}-narrow`);
    await page.getByText('Only some of what the role may').click();
    await page.getByRole('checkbox', { name: /^vm:read/ }).check();
    await page.getByRole('checkbox', { name: /^host:write/ }).check();
    await page.getByRole('button', { name: 'Create token' }).click();
    await page.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    equal(
        await page.getByLabel('Name', { exact: true }).inputValue(),
        `${name}-narrow`,
        'what was typed',
    );
    await page.getByRole('checkbox', { name: /^host:write/ }).uncheck();
    await page.getByRole('button', { name: 'Create token' }).click();
    const line = page.getByRole('row', { name: new RegExp(`${name}-narrow`) });
    await line.waitFor();
    ok((await line.textContent()).includes('vm:read'), 'its scopes are shown');
    await axe(page, 'tokens');
    await page.getByRole('button', { name: `Revoke ${name}-narrow` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await line.waitFor({ state: 'detached' });
});
