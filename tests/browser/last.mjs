// What comes after: elsewhere, deleting, tokens, signing out, and what no page may ever do.
import { BOOT_MS, env, equal, ok, seen, test, until } from './harness.mjs';
import { go, name, page, row, screen, secondContext, takeAway } from './shared.mjs';

test('a change made elsewhere is seen, and the console of a stopped machine waits for its start', async () => {
    await page.goto(`${env.url}/#/vms/${name}/console`);
    await page.locator('.console').waitFor();
    const other = await secondContext();
    await go(other, '', 'Machines');
    await row(other)
        .getByRole('button', { name: `Start ${name}` })
        .click();
    await until(
        'running',
        async () => (await page.locator('.page-head .tag').textContent()) === 'running',
        BOOT_MS,
    );
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    await until(
        'the guest printed something',
        async () => (await screen(page)).some((line) => line.trim()),
        BOOT_MS,
    );
    await other.context().close();
});

test('deleting says what is lost and takes the machine away', async () => {
    await go(page, '', 'Machines');
    await row().locator('summary').click();
    await row()
        .getByRole('button', { name: `Delete ${name}` })
        .click();
    await page
        .getByRole('dialog')
        .filter({ hasText: 'cannot be brought back' })
        .getByRole('button', { name: 'Delete' })
        .click();
    await row().waitFor({ state: 'detached', timeout: 30000 });
});

test('a token is made, shown once and revoked', async () => {
    await go(page, 'tokens', 'Access');
    await page.getByLabel('Name', { exact: true }).fill(`${name}-token`);
    await page.getByRole('button', { name: 'Create token' }).click();
    ok((await page.locator('.secret').textContent()).length > 10, 'the secret is shown');
    await page.getByRole('button', { name: `Revoke ${name}-token` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('button', { name: `Revoke ${name}-token` }).waitFor({ state: 'detached' });
});

test('quotas say what is used and what may be', async () => {
    await go(page, 'tokens', 'Access');
    const table = page.getByRole('region', { name: 'Quotas' });
    const machines = table.getByRole('row', { name: /^Machines/ });
    ok(/no limit/.test(await machines.textContent()), 'a fresh project has no limits');
    equal(await table.getByRole('row').count(), 7, 'a row for each resource');
});

test('signing out ends the session', async () => {
    await takeAway(); /* needs the session */
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('API token').waitFor();
    await page.reload();
    await page.getByLabel('API token').waitFor();
});

test('no policy violation, no script error, no request to another host', async () => {
    equal(seen.csp.join('\n'), '', 'violations of the Content-Security-Policy');
    equal(seen.errors.join('\n'), '', 'uncaught errors');
    equal(seen.console.join('\n'), '', 'errors on the browser console');
    equal(seen.foreign.join('\n'), '', 'requests to other hosts');
});
