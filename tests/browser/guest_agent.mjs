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
    equal(await inside.locator('.code.stdout').first().textContent(), 'agent-42\n', 'stdout');
    equal(await inside.locator('.code.stderr').first().textContent(), '<b>x</b>\n', 'stderr');
    await inside.getByLabel('Run in its shell').fill('echo first; read word; echo "got $word"');
    await page.keyboard.press('Enter');
    const going = inside.locator('.program').first();
    await going.locator('.code.stdout').filter({ hasText: 'first' }).waitFor({ timeout: 30000 });
    await going.getByLabel('Type to the program').fill('hello');
    await page.keyboard.press('Enter');
    await going.getByText('It ended with 0').waitFor({ timeout: 30000 });
    equal(await going.locator('.code.stdout').textContent(), 'first\ngot hello\n', 'live');
    await inside.getByLabel('Run in its shell').fill('sleep 600');
    await page.keyboard.press('Enter');
    await going.getByText('sleep 600').waitFor();
    await going.getByRole('button', { name: 'Kill' }).click({ timeout: 30000 });
    await going.getByText(/Signal \d+ ended it|It ended with 137/).waitFor({ timeout: 30000 });
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
