// Looking after a machine through its guest agent: freeze, clock, password, keys; and a program that others began.
import { BOOT_MS, axe, env, equal, ok, test, until } from './harness.mjs';
import { api, go, name, page, secondContext, shot } from './shared.mjs';

const inside = page.getByRole('region', { name: 'Inside the machine' });
const dialog = page.getByRole('dialog');
const press = (words) => dialog.getByRole('button', { name: words, exact: true }).click();
const closed = () => dialog.waitFor({ state: 'detached', timeout: 30000 });
const run = async (...argv) => api('POST', `/v1/vms/${name}/exec`, { argv, timeout_seconds: 20 });

test('file systems are frozen and thawed, the clock is set', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await go(page, `vms/${name}`, name);
    await inside.getByRole('button', { name: 'Freeze …' }).click({ timeout: BOOT_MS });
    const seconds = dialog.getByLabel('For at most so many seconds');
    await seconds.fill('601');
    await press('Freeze');
    ok(await seconds.evaluate((e) => e.validity.rangeOverflow), 'the browser says that it is too long');
    equal(await seconds.inputValue(), '601', 'what was typed');
    await axe(page, 'the form that freezes');
    await seconds.fill('60');
    await press('Freeze');
    await closed();
    await inside.getByText(/file systems? frozen, until/).waitFor();
    await inside.getByRole('button', { name: 'Thaw', exact: true }).click();
    await inside.getByText(/file systems? thawed/).waitFor();
    const told = (await api('GET', '/v1/events?limit=1000')).items.map((event) => event.type);
    ok(told.includes('vm.frozen') && told.includes('vm.thawed'), 'it is in the events');

    await run('date', '-s', '2001-01-01 00:00:00');
    await inside.getByRole('button', { name: 'Set the clock' }).click();
    await inside.getByText('Its clock is that of the host now.').waitFor();
    const now = Number((await run('date', '+%s')).stdout);
    ok(Math.abs(now - Date.now() / 1000) < 60, `it is ${now} in the machine`);
});

test('a password that the machine refuses stays typed, keys are let in, a program of others is killed', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await go(page, `vms/${name}`, name);
    await inside.getByRole('button', { name: 'Password …' }).click({ timeout: BOOT_MS });
    await dialog.getByLabel('New password').fill('browser-word');
    await press('Set the password');
    await dialog.getByRole('alert').filter({ hasText: 'Request' }).waitFor({ timeout: 30000 });
    equal(await dialog.getByLabel('New password').inputValue(), 'browser-word', 'what was typed');
    await axe(page, 'the form of a password');
    await shot(page, 'password.png');
    /* The demo guest has no chpasswd, which the agent calls; this one keeps what it was told. */
    await api(
        'PUT',
        `/v1/vms/${name}/files?path=/bin/chpasswd&mode=0755`,
        Buffer.from('#!/bin/sh\ncat >/tmp/told\n'),
    );
    await press('Set the password');
    await closed();
    equal((await run('cat', '/tmp/told')).stdout, 'root:browser-word\n', 'what the machine was told');
    await run('rm', '/bin/chpasswd', '/tmp/told');

    const key = `ssh-ed25519 ${'A'.repeat(68)} browser@example.org`;
    await inside.getByRole('button', { name: 'SSH keys …' }).click();
    const keys = dialog.getByLabel('Public keys, a line each');
    await keys.fill('no key');
    await press('Let them in');
    await until('the field is marked', async () => (await keys.getAttribute('aria-invalid')) === 'true');
    equal(await keys.inputValue(), 'no key', 'what was typed');
    await axe(page, 'the form of keys');
    await shot(page, 'ssh-keys.png');
    await keys.fill(key);
    await press('Let them in');
    await closed();
    ok((await run('cat', '/root/.ssh/authorized_keys')).stdout.includes(key), 'the key is there');

    /* Somebody else reads what it prints. */
    const going = await api('POST', `/v1/vms/${name}/exec`, {
        argv: ['sleep', '600'],
        stream: true,
        timeout_seconds: 600,
    });
    const asked = async () => api('GET', `/v1/vms/${name}/exec/${going.id}`);
    const other = await secondContext();
    await go(other, `vms/${name}`, name);
    await until('it is read elsewhere', async () => (await asked()).attached);
    await page.reload();
    await inside.getByText(/^Runs since/).waitFor({ timeout: 30000 });
    await inside.scrollIntoViewIfNeeded();
    await axe(page, 'inside a machine');
    await shot(page, 'guest-care.png');
    await inside.getByRole('button', { name: 'Kill sleep 600' }).click();
    await press('Kill');
    await until('it is over', async () => !['starting', 'running'].includes((await asked()).state));
    await other.context().close();
});
