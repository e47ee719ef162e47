// Pages that are there before what they show of others: machines, names of tokens. What comes later is shown then.
import { env, equal, ok, test, until } from './harness.mjs';
import { api, go, hold, name, secondContext } from './shared.mjs';

/* look(on): a page in a window of its own; held: paths that are answered only after release(). */
async function before(held, look) {
    const on = await secondContext();
    const gates = await Promise.all(held.map((path) => hold(on, path)));
    const release = () => Promise.all(gates.map((open) => open()));
    try {
        await look(on, release);
    } finally {
        await release();
        await on.unrouteAll({ behavior: 'ignoreErrors' });
        await on.context().close();
    }
}

test('a machine’s page that was read before the list is as the list says', async () => {
    await before(['/v1/vms'], async (on, release) => {
        const old = { state: 'starting', updated_at: '2001-01-01T00:00:00.000Z' };
        const isIt = ({ pathname }) => pathname === `/v1/vms/${name}`;
        await on.route(isIt, async (route) => {
            const response = await route.fetch();
            await route.fulfill({ response, json: { ...(await response.json()), ...old } });
        });
        await go(on, `vms/${name}`, name);
        const tag = on.locator('.page-head .tag');
        await tag.getByText('starting').waitFor();
        await release();
        await tag.getByText((await api('GET', `/v1/vms/${name}`)).state).waitFor();
    });
});

test('a name that was suggested before the machines were known is not one of theirs', async () => {
    await before(['/v1/vms'], async (on, release) => {
        let suggested = null;
        await on.route('**/v1/vms?*', async (route) => {
            const response = await route.fetch();
            const body = await response.json();
            body.items.push({ ...body.items[0], id: 'late', name: suggested });
            await route.fulfill({ response, json: body });
        });
        /* The route made last is asked first. */
        const again = await hold(on, '/v1/vms');
        await go(on, 'new', 'New machine');
        const field = on.getByLabel('Name', { exact: true });
        suggested = await field.inputValue();
        ok(suggested, 'one is suggested');
        await again();
        await release();
        await until('another name', async () => (await field.inputValue()) !== suggested);
        const other = await field.inputValue();
        ok(/^[a-z]+-[a-z]+$/.test(other), 'which is a name');
        ok((await on.locator('pre', { hasText: other }).count()) > 0, 'the lines to copy say it');
    });
});

test('what is done to a machine is told with its name, and by whom, when these come later', async () => {
    const token = await api('POST', '/v1/tokens', { name: `${name}-late`, role: 'operator' });
    try {
        const made = await fetch(`${env.url}/v1/vms`, {
            method: 'POST',
            headers: {
                Authorization: `Bearer ${token.token}`,
                'Content-Type': 'application/json',
            },
            body: JSON.stringify({ name: `${name}-late`, memory_mib: 32, networks: [] }),
        });
        equal(made.status, 201, 'a machine of the token');
        await before(['/v1/vms', '/v1/tokens'], async (on, release) => {
            await go(on, 'activity', 'Activity');
            const operations = on.getByRole('region', { name: 'Operations' });
            const log = on.getByRole('region', { name: 'Event log' });
            const line = log.locator('li', { hasText: `${name}-late` }).first();
            await line.getByText(/by token /).waitFor();
            ok(!(await line.textContent()).includes(`by token ${name}-late`), 'by its id, at first');
            await operations.locator('li').first().waitFor();
            /* Its own: a run of many tests has more operations than the page shows. */
            const links = operations.getByRole('link', { name: `${name}-late`, exact: true });
            equal(await links.count(), 0, 'links to a machine that is not known');
            await release();
            await line.getByText(`by token ${name}-late`).waitFor();
            await links.first().waitFor();
        });
    } finally {
        await api('DELETE', `/v1/vms/${name}-late`).catch(() => {});
        await api('DELETE', `/v1/tokens/${token.id}`);
    }
});

test('how many machines go off is said in the question when it is known', async () => {
    await before(['/v1/vms'], async (on, release) => {
        await go(on, 'host', 'Host');
        await on.getByRole('button', { name: 'Shut down all guests …' }).click();
        const dialog = on.getByRole('dialog');
        await dialog.getByText('how many is not known yet').waitFor();
        await release();
        await dialog.getByText(/[1-9]\d* running machines? in the one shown/).waitFor();
        await on.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' });
    });
});

test('what came between a page’s list and the first event is shown', async () => {
    const label = `${name}-between`;
    const comes = [
        ['Images', 'POST', '/v1/images', { name: label, kind: 'disk', format: 'raw' }],
        ['Pools', 'PUT', `/v1/pools/${label}`, { vm: { memory_mib: 16 }, ready: 0 }],
    ];
    const made = [];
    try {
        for (const [heading, ...request] of comes) {
            const address = heading.toLowerCase();
            await before(['/v1/events'], async (on, release) => {
                await go(on, address, heading);
                const shown = on.locator('main').getByText(label).first();
                made.push(`/v1/${address}/${(await api(...request)).id}`);
                equal(await shown.count(), 0, `${heading} that nobody told of the news`);
                await release();
                await shown.waitFor();
            });
        }
    } finally {
        for (const path of made) {
            await api('DELETE', path);
        }
    }
});
