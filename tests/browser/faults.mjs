// The network cut, the daemon slow, a clock that is wrong, a token revoked: the page says so and goes on.
import { axe, newPageAt, ok, test, until } from './harness.mjs';
import { startProxy } from './proxy.mjs';
import { api, browser, name, page, row, screen, shot } from './shared.mjs';

const banner = (on) => on.locator('.banner');
const said = (on, words) => on.locator('.banner p:visible').filter({ hasText: words });

test('a network that is cut is said, and what happened meanwhile is there when it is back', async () => {
    const proxy = await startProxy();
    const on = await newPageAt(browser, proxy.url, {
        storageState: await page.context().storageState(),
    });
    try {
        await on.goto(`${proxy.url}/#/vms/${name}/console`);
        await on.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
        await on.evaluate(() => {
            window.__notReloaded = true;
        });
        /* What is remembered is still being drawn when the stream is live. */
        let before = '';
        await until('the screen stands still', async () => {
            const last = before;
            before = (await screen(on)).join('\n');
            await on.evaluate(() => new Promise((done) => setTimeout(done, 300)));
            return before.trim() && before === last;
        });
        proxy.cut();
        await said(on, 'cannot be reached').waitFor({ timeout: 30000 });
        await axe(on, 'the network is cut');
        await shot(on, 'network-cut.png');
        const made = await api('POST', '/v1/vms', {
            name: `${name}-meanwhile`,
            memory_mib: 32,
            networks: [],
        });
        proxy.mend();
        await banner(on)
            .getByRole('button', { name: 'Try now' })
            .click({ timeout: 5000 })
            .catch(() => {} /* it may be back before the button is pressed */);
        await banner(on).waitFor({ state: 'hidden', timeout: 40000 });
        await on.locator('.console[data-status=live]').waitFor({ timeout: 40000 });
        await until(
            'the screen of the console is as it was: nothing was lost, nothing repeated',
            async () => (await screen(on)).join('\n').slice(0, 200) === before.slice(0, 200),
        );
        await on.goto(`${proxy.url}/#/`);
        await on.getByRole('link', { name: `${name}-meanwhile`, exact: true }).waitFor();
        await api('DELETE', `/v1/vms/${made.id}`);
        await on
            .getByRole('link', { name: `${name}-meanwhile`, exact: true })
            .waitFor({ state: 'detached' });
        ok(await on.evaluate(() => window.__notReloaded), 'the page was not reloaded');
    } finally {
        await on.context().close();
        proxy.stop();
    }
});

test('a daemon that is slow and a clock that is wrong are said, and are over when they are over', async () => {
    const proxy = await startProxy();
    const on = await newPageAt(browser, proxy.url, {
        storageState: await page.context().storageState(),
    });
    try {
        proxy.skew(10 * 60000);
        await on.goto(`${proxy.url}/#/`);
        await row(on).waitFor();
        await said(on, '10 minutes ahead').waitFor();
        await axe(on, 'a clock that is wrong');
        proxy.skew(0);
        proxy.hold();
        await on.getByRole('link', { name: 'Host', exact: true }).click();
        await said(on, 'is slow').waitFor({ timeout: 20000 });
        proxy.release();
        await on.getByRole('heading', { level: 1, name: 'Host' }).waitFor();
        await banner(on).waitFor({ state: 'hidden', timeout: 20000 });
    } finally {
        await on.context().close();
        proxy.stop();
    }
});

test('a token that is revoked shuts its pages out at once, with words, and the page is kept', async () => {
    const made = await api('POST', '/v1/tokens', { name: `${name}-brief`, role: 'viewer' });
    const on = await newPageAt(browser, null);
    try {
        await on.goto(`${new URL(page.url()).origin}/#/vms/${name}`);
        await on.getByLabel('API token').fill(made.token);
        await on.keyboard.press('Enter');
        await on.getByRole('heading', { level: 1, name }).waitFor();
        await until('the event stream is live', () => on.locator('.live[data-live=live]').count());
        await api('DELETE', `/v1/tokens/${made.id}`);
        await on.getByLabel('API token').waitFor({ timeout: 30000 });
        await on.getByRole('alert').filter({ hasText: 'What to do' }).waitFor();
        await axe(on, 'signed out');
        const again = await api('POST', '/v1/tokens', { name: `${name}-again`, role: 'viewer' });
        await on.getByLabel('API token').fill(again.token);
        await on.keyboard.press('Enter');
        await on.getByRole('heading', { level: 1, name }).waitFor();
        await api('DELETE', `/v1/tokens/${again.id}`);
    } finally {
        await on.context().close();
    }
});
