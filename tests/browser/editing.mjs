// The definition edited, with its changes shown first, over somebody else's change; the lines to copy.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { axe, env, equal, ok, test, until } from './harness.mjs';
import { api, go, makeVm, name, page, shot } from './shared.mjs';

const edited = `${name}-edited`;
const panel = page.getByRole('region', { name: 'Definition' });
const text = panel.getByRole('textbox', { name: 'Definition as JSON' });
const preview = panel.getByRole('button', { name: 'Preview changes' });

async function change(from, to) {
    const now = await text.inputValue();
    ok(now.includes(from), `${from} is in ${now}`);
    await text.fill(now.replace(from, to));
}

test('a definition is edited: what is no JSON, what changes, and it is saved', async () => {
    const vm = await makeVm({
        name: edited,
        memory_mib: 32,
        networks: [],
        labels: { tier: 'web', 'browser.test': 'yes' },
    });
    await go(page, `vms/${edited}`, edited);
    await panel.getByRole('button', { name: 'Edit' }).click();
    await change('"memory_mib": 32', '"memory_mib": 48,');
    await preview.click();
    equal(await text.getAttribute('aria-invalid'), 'true', 'what is no JSON is marked');
    ok((await text.inputValue()).includes('48,,'), 'what was typed is kept');
    await change('"memory_mib": 48,,', '"memory_mib": 7,');
    await change('"tier": "web"', '"tier": "front"');
    await preview.click();
    const changes = panel.getByRole('region', { name: 'Changes' });
    equal(await changes.locator('tbody tr').count(), 2, 'changes');
    await axe(page, 'changes of a definition');
    await changes.getByRole('button', { name: 'Save' }).click();
    await panel.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    ok(/^memory_mib: /.test(await panel.locator('.field-error').textContent()), 'the member');
    equal((await api('GET', `/v1/vms/${vm.id}`)).labels.tier, 'web', 'nothing was changed');
    await change('"memory_mib": 7', '"memory_mib": 48');
    await preview.click();
    await changes.getByRole('row', { name: /memory_mib 32 48/ }).waitFor();
    await shot(page, 'definition.png');
    await changes.getByRole('button', { name: 'Save' }).click();
    await text.waitFor({ state: 'hidden' });
    const now = await api('GET', `/v1/vms/${vm.id}`);
    equal(`${now.memory_mib} ${now.labels.tier}`, '48 front', 'the definition');
});

test('a change that somebody else made meanwhile is shown, not run over', async () => {
    await go(page, `vms/${edited}`, edited);
    await panel.getByRole('button', { name: 'Edit' }).click();
    await change('"tier": "front"', '"tier": "mine"');
    await preview.click();
    await api('PATCH', `/v1/vms/${edited}`, { labels: { tier: 'theirs' }, cpus: 2 });
    await panel.getByRole('status').filter({ hasText: 'changed elsewhere' }).waitFor();
    await panel.getByRole('button', { name: 'Save' }).click();
    const conflict = panel.getByRole('region', { name: 'Conflict' });
    await conflict.getByText('You both changed: labels/tier').waitFor();
    await axe(page, 'a conflict');
    equal((await api('GET', `/v1/vms/${edited}`)).labels.tier, 'theirs', 'nothing was run over');
    await conflict.getByRole('button', { name: 'Put my changes' }).click();
    await panel.getByRole('row', { name: /labels\/tier "theirs" "mine"/ }).waitFor();
    await panel.getByRole('button', { name: 'Save' }).click();
    await text.waitFor({ state: 'hidden' });
    const now = await api('GET', `/v1/vms/${edited}`);
    equal(`${now.cpus} ${now.labels.tier}`, '2 mine', 'both changes');
});

const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDWdGLeMmZXcIuUnHnCFgSdmYvVFqKL1rYRJhWyk8kq it's me`;
const USER_DATA = `#cloud-config\nruncmd: ["echo 'a b' $HOME %s"]\n`;
const read = (at) => page.evaluate(async (where) => (await fetch(where)).text(), at);

test('the lines shown next to the form make the machine that the form says', async () => {
    if (!env.token || !env.cli) {
        return;
    }
    for (const [tool, at] of [
        ['curl', `${edited}-curl`],
        ['drover', `${edited}-drover`],
    ]) {
        await go(page, '', 'Machines');
        await go(page, 'new', 'New machine');
        await page.getByLabel('Name', { exact: true }).fill(at);
        await page.getByLabel('Image').selectOption('');
        await page.getByLabel('Memory in MiB').fill('32');
        await page.getByText('More settings').click();
        await page.getByLabel('Description').fill(`it's $(not) a "command"`);
        await page.getByLabel('Labels').fill('tier=web browser.test=a=b');
        await page.getByLabel('Network', { exact: true }).selectOption('none');
        await page.getByLabel('Channels').fill('org.example.0 org.example.1');
        await page.getByLabel('Serial ports').fill('2');
        await page.getByLabel('Further disks in GiB').fill('1 2');
        await page.getByLabel('With a display').check();
        await page.getByLabel('Its memory may be merged with that of others').uncheck();
        await page.getByText('Inside the guest').click();
        await page.getByLabel('SSH keys').fill(`${KEY}\n\n ${KEY}`);
        await page.getByLabel('User data').fill(USER_DATA);
        await page.getByLabel('It is ready when its console prints').fill('login: $');
        await page.getByLabel('Start now').uncheck();
        await shot(page, 'new-inside.png');
        const line = await page.getByLabel(`The same with ${tool}`).textContent();
        execFileSync('/bin/sh', ['-c', line], {
            env: {
                PATH: `${path.dirname(env.cli)}:${process.env.PATH}`,
                HOME: '/nonexistent',
                DROVER_TOKEN: env.token,
            },
            stdio: ['ignore', 'ignore', 'pipe'],
        });
        const vm = await until('it is there', () => api('GET', `/v1/vms/${at}`).catch(() => null));
        equal(
            JSON.stringify([
                vm.description,
                vm.labels,
                vm.networks,
                vm.channels,
                vm.serial_ports,
                vm.display,
                vm.memory_mib,
                vm.disks,
                vm.memory_merge,
                vm.ssh_keys,
                vm.ready_pattern,
                vm.state,
            ]),
            JSON.stringify([
                `it's $(not) a "command"`,
                { tier: 'web', 'browser.test': 'a=b' },
                [],
                ['org.example.0', 'org.example.1'],
                2,
                true,
                32,
                [{ size_gib: 1 }, { size_gib: 2 }],
                false,
                [KEY, KEY],
                'login: $',
                'stopped',
            ]),
            tool,
        );
        equal(await read(`/v1/vms/${vm.id}/user-data`), USER_DATA, 'what cloud-init gets');
        await api('DELETE', `/v1/vms/${vm.id}`);
    }
});
