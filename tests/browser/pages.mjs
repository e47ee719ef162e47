// Every page: how it looks, on a phone, without motion, by keyboard alone.
import { axe, env, equal, ok, test, until } from './harness.mjs';
import { focused, go, name, page, row, secondContext, shot, shows, stateOf } from './shared.mjs';

test('pictures and axe: every page, light and dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const on = await secondContext({ colorScheme });
        const pages = [
            ['', 'Machines', 'machines'],
            ['new', 'New machine', 'new'],
            ['consoles', 'Consoles', 'consoles-page'],
            ['sets', 'Sets', 'sets-page'],
            ['pools', 'Pools', 'pools-page'],
            ['leases', 'Leases', 'leases-page'],
            ['images', 'Images', 'images-page'],
            ['recordings', 'Recordings', 'recordings-page'],
            ['memory', 'Memory', 'memory'],
            ['activity', 'Activity', 'activity-page'],
            ['host', 'Host', 'host'],
            ['webhooks', 'Webhooks', 'webhooks-page'],
            ['audit', 'Audit log', 'audit-page'],
            ['projects', 'Projects', 'projects-page'],
            ['tokens', 'Access', 'access'],
            [`vms/${name}`, name, 'machine'],
        ];
        for (const [address, heading, file] of pages) {
            await go(on, address, heading);
            if (file === 'machines') {
                await until(
                    'a sparkline',
                    async () =>
                        (
                            (await row(on).locator('.spark-cpu .spark-line').getAttribute('d')) ??
                            ''
                        ).split('L').length > 3,
                    30000,
                );
                await row(on).getByLabel(`More actions for ${name}`).click();
                await axe(on, `${file} with menu, ${colorScheme}`);
                await on.keyboard.press('Escape');
            }
            if (file === 'machine') {
                await on.getByRole('button', { name: 'Console', exact: true }).click();
                await on.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
                await shows(on, env.guest === 'linux' ? '#' : '42');
            }
            await axe(on, `${file}, ${colorScheme}`);
            await shot(on, `${file}-${colorScheme}.png`);
        }
        await on.context().close();
    }
});

test('reduced motion is obeyed', async () => {
    const on = await secondContext({ reducedMotion: 'reduce' });
    await go(on, '', 'Machines');
    equal(
        await row(on)
            .locator('.button')
            .first()
            .evaluate((e) => getComputedStyle(e).transitionProperty),
        'none',
        'transitions',
    );
    await on.context().close();
});

test('by keyboard alone: from the list through pausing to stopping, with a question', async () => {
    await go(page, '', 'Machines');
    const tabTo = async (wanted, limit = 60) => {
        for (let presses = 0; presses < limit; presses += 1) {
            await page.keyboard.press('Tab');
            if ((await focused(page)) === wanted) {
                const outline = await page.evaluate(
                    () => getComputedStyle(document.activeElement).outlineStyle,
                );
                equal(outline, 'solid', `outline of ${wanted}`);
                return;
            }
        }
        throw new Error(`Tab does not reach ${wanted}`);
    };
    await page.reload();
    await row().waitFor();
    await page.keyboard.press('Tab');
    equal(await focused(page), 'a Skip to content', 'the first stop');
    await tabTo(`summary More actions for ${name}`, 200);
    await page.keyboard.press('Enter');
    await tabTo(`button Pause ${name}`);
    await page.keyboard.press('Enter');
    await until('paused', async () => (await stateOf()) === 'paused');
    await row()
        .getByRole('button', { name: `Resume ${name}` })
        .focus();
    await page.keyboard.press('Enter');
    await until('running', async () => (await stateOf()) === 'running');
    await row().locator('summary').focus();
    await page.keyboard.press('Enter');
    await tabTo(`button Stop ${name}`);
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog');
    await dialog.filter({ hasText: 'pulling the plug' }).waitFor();
    await axe(page, 'dialog');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    equal(await stateOf(), 'running', 'state after Escape');
    await row().locator('summary').focus();
    await page.keyboard.press('Enter');
    await tabTo(`button Stop ${name}`);
    await page.keyboard.press('Enter');
    await dialog.waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await until('stopped', async () => (await stateOf()) === 'stopped', 30000);
    ok(
        (await page.locator('[role=status]').first().textContent()).length > 0,
        'the change is announced',
    );
});
