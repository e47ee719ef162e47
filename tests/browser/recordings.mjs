// Recordings: started where one looks, marked for everybody, played, downloaded, deleted.
import { readFileSync } from 'node:fs';
import { parseCast } from '../../web/src/console/cast.js';
import { axe, env, equal, newPage, ok, test, until } from './harness.mjs';
import { api, browser, go, name, page, screen, secondContext, shot, shows } from './shared.mjs';

const more = async (item) => {
    await page.locator('.console-tools summary').first().click();
    await page.locator('.console-tools').getByRole('button', { name: item, exact: true }).click();
};
const dot = (on) => on.locator('.console-bar .recording');
const player = page.locator('.player');
const at = async () => Number(await page.getByLabel('Position').inputValue());
let link;

test('a recording is started and stopped, and everybody who looks sees it', async () => {
    await go(page, `vms/${name}/console`, name);
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    const stranger = await newPage(browser);
    const ticket = await api('POST', '/v1/tickets', {
        vm: name,
        stream: 'console',
        mode: 'view',
        single_use: false,
        expires_in_seconds: 600,
    });
    await stranger.goto(ticket.link);
    await stranger.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    equal(await dot(stranger).isVisible(), false, 'a red dot before');
    await more('Record');
    await dot(page).waitFor({ timeout: 20000 });
    await dot(stranger).waitFor({ timeout: 20000 });
    await page.locator('.console-screen').click();
    await page.keyboard.type(env.guest === 'linux' ? 'echo taped-$((40+2))\n' : 'taped-42');
    await shows(page, 'taped-42');
    await axe(page, 'a console that is recorded');
    await shot(page, 'recording.png');
    await more('Stop recording');
    await dot(page).waitFor({ state: 'hidden', timeout: 20000 });
    await dot(stranger).waitFor({ state: 'hidden', timeout: 20000 });
    await stranger.context().close();
    const row = page.locator('.rows li[data-recording]').first();
    await row.waitFor();
    link = `${env.url}/${await row.locator('a').first().getAttribute('href')}`;
});

test('a recording is played, sought and downloaded', async () => {
    await page.goto(link);
    await player.waitFor({ timeout: 20000 });
    await until(
        'it plays to its end',
        async () => (await screen(page)).join('\n').includes('taped-42'),
        60000,
    );
    await until('it has ended', () => page.locator('.player[data-playing=no]').count(), 60000);
    const end = await at();
    ok(end > 0, `its length: ${end}`);
    await page.keyboard.press('Home');
    equal(await at(), 0, 'position after Home');
    await until(
        'the beginning is drawn',
        async () => !(await screen(page)).join('\n').includes('taped-42'),
    );
    await page.keyboard.press('End');
    equal(await at(), end, 'position after End');
    await shows(page, 'taped-42');
    await page.keyboard.press('>');
    equal(await page.getByLabel('Speed').inputValue(), '2', 'speed after >');
    await axe(page, 'player');
    await shot(page, 'player.png');
    const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Download', exact: true }).click(),
    ]);
    const text = readFileSync(await download.path(), 'utf8');
    const printed = parseCast(text).events.map((event) => (event.kind === 'o' ? event.data : ''));
    ok(printed.join('').includes('taped-42'), 'what was printed is in the file');
    ok(download.suggestedFilename().endsWith('.cast'), download.suggestedFilename());

    const on = await secondContext({
        viewport: { width: 360, height: 740 },
        hasTouch: true,
        colorScheme: 'dark',
    });
    await on.goto(link);
    await on.locator('.player').waitFor({ timeout: 20000 });
    const width = await on.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 360, `the player makes the page ${width} wide`);
    await axe(on, 'player, phone');
    await shot(on, 'phone-player.png');
    await on.context().close();
});

test('recordings are listed and deleted with a question', async () => {
    await go(page, 'recordings', 'Recordings');
    const id = link.split('/').pop();
    const row = page.locator(`[data-recording="${id}"]`);
    await row.waitFor();
    await axe(page, 'recordings');
    await row.getByRole('button', { name: /^Delete/ }).click();
    const dialog = page.getByRole('dialog').filter({ hasText: 'cannot be brought back' });
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await row.waitFor({ state: 'detached' });
    await page.goto(link);
    await page.getByRole('heading', { level: 1, name: 'This page cannot be shown' }).waitFor();
    await page.getByText('Request').first().waitFor();
});
