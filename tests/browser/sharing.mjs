// Share links: made in two clicks, good for one console, told plainly when they are not.
import { axe, env, equal, newPage, ok, test, until } from './harness.mjs';
import { browser, go, name, page, screen, shot, shows } from './shared.mjs';

/* Somebody who has nothing but the link. */
const stranger = (options) => newPage(browser, options);

async function makeLink({ mode, uses, life, who }) {
    await page.locator('.console-tools').getByRole('button', { name: 'Share' }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    if (mode) {
        await dialog.getByLabel('Who has the link may').selectOption(mode);
    }
    if (uses) {
        await dialog.getByLabel('It works').selectOption(uses);
    }
    if (life) {
        await dialog.getByLabel('It expires after').selectOption(life);
    }
    if (who) {
        await dialog.getByLabel('For whom (optional)').fill(who);
    }
    await dialog.getByRole('button', { name: 'Make the link' }).click();
    const link = await dialog.locator('.secret').textContent();
    ok(link.startsWith(`${env.url}/#share=`), `the link: ${link.replace(/=.*/, '=…')}`);
    return { link, dialog };
}

test('a link to watch shows that console and nothing else, and can be revoked', async () => {
    await go(page, `vms/${name}/console`, name);
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    const { link, dialog } = await makeLink({ who: `${name}-watcher` });
    await axe(page, 'share dialog');
    await shot(page, 'share.png');
    const other = await stranger({ colorScheme: 'dark' });
    await other.goto(link);
    await other.getByText('You were given this to watch.').waitFor();
    await other.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    await shows(other, env.guest === 'linux' ? '#' : '42');
    equal(await other.locator('nav').count(), 0, 'navigation for a stranger');
    equal(
        await other.locator('.console[data-mode=control]').count(),
        0,
        'keyboards for a stranger',
    );
    await axe(other, 'shared console');
    await shot(other, 'shared.png');
    await dialog.getByText(`${name}-watcher`, { exact: true }).waitFor();
    await dialog.getByRole('button', { name: `Revoke the link ${name}-watcher` }).click();
    await page.getByRole('dialog').last().getByRole('button', { name: 'Revoke' }).click();
    await other.locator('.console[data-status=ended]').waitFor({ timeout: 20000 });
    await page.getByText('No link works at present.').waitFor();
    await other.reload();
    await other.getByRole('heading', { name: 'This link does not work' }).waitFor();
    await axe(other, 'a link that does not work');
    await shot(other, 'shared-revoked.png');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await other.context().close();
});

test('a link to type works once', async () => {
    const { link } = await makeLink({ mode: 'control', uses: 'once', who: `${name}-typist` });
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    const other = await stranger();
    await other.goto(link);
    await other.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    await page.locator('.people-menu summary').click();
    await page.locator('.person', { hasText: `${name}-typist` }).waitFor();
    await page.keyboard.press('Escape');
    await other.getByRole('button', { name: 'Take it', exact: true }).click();
    await until('the keyboard', () => other.locator('.keyboard[data-keyboard=mine]').count());
    await other.locator('.console-screen').click();
    await other.keyboard.type(env.guest === 'linux' ? 'echo lent-$((40+2))\n' : 'lent-42');
    await shows(page, 'lent-42');
    const late = await stranger();
    await late.goto(link);
    await late.getByRole('heading', { name: 'This link does not work' }).waitFor();
    await late.getByText('ask whoever gave it to you for a new one').waitFor();
    await late.context().close();
    await other.context().close();
    await page.getByRole('button', { name: 'Take it', exact: true }).waitFor({ state: 'hidden' });
});

test('a link with nonsense in it says so', async () => {
    const other = await stranger({ viewport: { width: 360, height: 740 } });
    await other.goto(`${env.url}/#share=nonsense`);
    await other.getByRole('heading', { name: 'This link does not work' }).waitFor();
    await axe(other, 'a wrong link, phone');
    await other.context().close();
    ok((await screen(page)).length > 0, 'the console is still there');
});
