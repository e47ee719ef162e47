// Who is told what happens (webhooks), and who is kept apart from whom (projects).
import { axe, equal, ok, test, until } from './harness.mjs';
import { api, go, name, page, row, shot } from './shared.mjs';

test('a webhook: wrong input keeps what was typed, the secret is shown once, its deliveries tell', async () => {
    await go(page, 'webhooks', 'Webhooks');
    const url = page.getByLabel('Address');
    const events = page.getByLabel('Events', { exact: true });
    await url.fill('http://user:word@hooks.invalid/');
    await events.fill('vm.state, image.*');
    await page.getByRole('button', { name: 'Create webhook' }).click();
    await page.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    equal(await url.getAttribute('aria-invalid'), 'true', 'the field that is wrong');
    equal(await events.inputValue(), 'vm.state, image.*', 'what was typed');
    await url.fill(`http://${name}.invalid/hook`);
    await page.getByRole('button', { name: 'Create webhook' }).click();
    ok((await page.locator('.secret').textContent()).startsWith('whsec_'), 'the secret is shown');
    const card = page.locator('[data-webhook]', { hasText: `${name}.invalid` });
    await card.getByRole('button', { name: /^Send a ping/ }).click();
    await page
        .getByRole('status')
        .filter({ hasText: /^Ping to/ })
        .waitFor({ timeout: 60000 });
    await card.locator('summary').click();
    await card.getByRole('row').filter({ hasText: 'webhook.ping' }).waitFor();
    await axe(page, 'a webhook with deliveries');
    await shot(page, 'webhook.png');
    await card.getByRole('button', { name: /^Disable/ }).click();
    await card.locator('.tag[data-state=disabled]').waitFor();
    await card.getByRole('button', { name: /^Enable/ }).click();
    await card.locator('.tag:not([data-state=disabled])').waitFor();
    await card.getByRole('button', { name: /^Delete/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card.waitFor({ state: 'detached' });
});

test('the audit log: who asked for what, and what was refused', async () => {
    const made = await api('POST', '/v1/vms', { name: `${name}-audited`, memory_mib: 32 });
    await api('DELETE', `/v1/vms/${made.id}`);
    await go(page, 'audit', 'Audit log');
    const rows = page.getByRole('region', { name: 'Audit log' }).getByRole('row');
    await rows.filter({ hasText: 'deleteVm' }).filter({ hasText: made.id }).first().waitFor();
    await axe(page, 'the audit log');
    await shot(page, 'audit.png');
    await page.evaluate(() =>
        fetch('/v1/vms/nosuch/start', {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
        }),
    );
    await page.getByLabel('Only what was refused').check();
    const refused = rows.filter({ hasText: 'startVm' }).filter({ hasText: 'nosuch' });
    await refused.filter({ hasText: '404 vm-not-found' }).first().waitFor();
    await until(
        'what went well is left out',
        async () =>
            (await rows.filter({ has: page.locator('[data-state=succeeded]') }).count()) === 0,
    );
    const older = page.getByRole('button', { name: 'Older' });
    await until(
        'one page, or more',
        async () => (await older.isVisible()) === (await rows.count()) > 100,
    );
});

/* The first `times` questions for the projects find a daemon that has too much to do. */
async function whileProjectsAreRefused(times, look) {
    const isList = ({ pathname }) => pathname === '/v1/projects';
    let asked = 0;
    const refuse = (route) => {
        asked += 1;
        return asked > times
            ? route.fallback()
            : route.fulfill({
                  status: 503,
                  contentType: 'application/problem+json',
                  body: JSON.stringify({ title: 'Too much to do', status: 503, retry: true }),
              });
    };
    await page.route(isList, refuse);
    await look();
    await page.unroute(isList, refuse);
    ok(asked > times, 'they were asked for again');
}

test('a project is made, looked into, found again after a reload, left and deleted', async () => {
    const project = `${name}-lab`;
    await go(page, 'projects', 'Projects');
    equal(
        await page.getByLabel('Project', { exact: true }).isVisible(),
        false,
        'nothing to choose yet',
    );
    await page.getByLabel('Name', { exact: true }).fill(project);
    await page.getByLabel('Machines', { exact: true }).fill('3');
    await page.getByLabel('Disks in GiB').fill('1.5');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    const card = page.locator(`[data-project="${project}"]`);
    await card.filter({ hasText: '0 of 3' }).waitFor();
    await card.getByRole('button', { name: `Edit ${project}` }).click();
    equal(await page.getByLabel('Disks in GiB').inputValue(), '1.5', 'the limit as it was given');
    await page.getByLabel('Machines', { exact: true }).fill('2');
    await page.getByRole('button', { name: 'Change', exact: true }).click();
    await card.filter({ hasText: '0 of 2' }).waitFor();
    await axe(page, 'projects');
    await shot(page, 'projects.png');

    await api('POST', `/v1/vms?project=${project}`, {
        name: 'inside',
        memory_mib: 32,
        networks: [],
    });
    await page.getByLabel('Project', { exact: true }).selectOption(project);
    await row(page).waitFor({ state: 'detached' });
    const inside = page.getByRole('link', { name: 'inside', exact: true });
    await inside.waitFor();
    await page.reload();
    await inside.waitFor();
    equal(await page.getByLabel('Project', { exact: true }).inputValue(), project, 'what is shown');
    await whileProjectsAreRefused(2, async () => {
        await page.reload();
        await inside.waitFor();
        await until(
            'the project is still the one that is shown',
            async () => (await page.getByLabel('Project', { exact: true }).inputValue()) === project,
        );
    });
    await go(page, 'vms/inside', 'inside');
    await api('DELETE', `/v1/vms/inside?project=${project}`);
    await page.getByLabel('Project', { exact: true }).selectOption('default');
    await row(page).waitFor();

    await go(page, 'projects', 'Projects');
    await until(
        'the project is empty',
        async () => (await api('GET', `/v1/projects/${project}`)).usage.vms === 0,
    );
    await page.getByRole('button', { name: `Delete ${project}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card.waitFor({ state: 'detached' });
});
