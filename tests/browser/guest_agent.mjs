// Inside the machine, through its guest agent: facts, a program, a file in and out.
import { readFileSync } from 'node:fs';
import { BOOT_MS, axe, env, equal, test } from './harness.mjs';
import { go, name, page, shot } from './shared.mjs';

const inside = page.getByRole('region', { name: 'Inside the machine' });

test('a program runs in the machine, and a file goes in and out', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await go(page, `vms/${name}`, name);
    await inside.getByLabel('Run in its shell').waitFor({ timeout: BOOT_MS });
    await inside
        .getByLabel('Run in its shell')
        .fill("echo agent-$((40+2)); echo '<b>x</b>' >&2; exit 3");
    await page.keyboard.press('Enter');
    await inside.getByText('It ended with 3').waitFor({ timeout: 30000 });
    equal(await inside.locator('.code.stdout').textContent(), 'agent-42\n', 'stdout');
    equal(await inside.locator('.code.stderr').textContent(), '<b>x</b>\n', 'stderr');
    await axe(page, 'guest agent');
    await inside.scrollIntoViewIfNeeded();
    await shot(page, 'guest-agent.png');

    await inside.getByLabel('File in the machine').fill('/tmp/from-the-browser');
    await inside.locator('input[type=file]').setInputFiles({
        name: 'x',
        mimeType: 'text/plain',
        buffer: Buffer.from('carried in\n'),
    });
    await inside.getByText('/tmp/from-the-browser is written').waitFor({ timeout: 30000 });
    const [download] = await Promise.all([
        page.waitForEvent('download', { timeout: 30000 }),
        inside.getByRole('button', { name: 'Download', exact: true }).click(),
    ]);
    equal(readFileSync(await download.path(), 'utf8'), 'carried in\n', 'the file');
    await inside.getByLabel('File in the machine').fill('/no/such/file');
    await inside.getByRole('button', { name: 'Download', exact: true }).click();
    await inside.getByRole('alert').filter({ hasText: 'Request' }).waitFor({ timeout: 30000 });
    equal(
        await inside.getByLabel('File in the machine').inputValue(),
        '/no/such/file',
        'what was typed',
    );
});
