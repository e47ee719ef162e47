// All guests of the host are shut down and started again, from the page of the host.
import { axe, equal, ok, test, until } from './harness.mjs';
import { displayDisk } from './guest.mjs';
import { api, go, makeImage, makeVm, name, page, secondContext, shot } from './shared.mjs';

/* Whatever became of the test: others need machines that start. */
async function letThemStart() {
    const { operation_id: id } = await api('GET', '/v1/host/shutdown-guests');
    const path = `/v1/operations/${id}`;
    const goes = async () => id && ['pending', 'running'].includes((await api('GET', path)).state);
    if (await goes()) {
        await api('DELETE', path).catch(() => {}); /* it may have ended just now */
        await until('the shutdown is over', async () => !(await goes()), 120000);
    }
    await api('POST', '/v1/host/start-guests');
}

test('the guests of the host are shut down, the report says how, and they start again', async () => {
    await makeImage({ name: `${name}-sector`, kind: 'disk', format: 'raw' }, displayDisk());
    const vm = await makeVm({
        name: `${name}-deaf`,
        image: `${name}-sector`,
        memory_mib: 32,
        networks: [],
        host_shutdown_seconds: 1,
        start: true,
    });
    const state = async () => (await api('GET', `/v1/vms/${vm.id}`)).state;
    /* The other machines have two minutes each; here they have not. */
    for (const { id, state: now } of (await api('GET', '/v1/vms?limit=1000')).items) {
        if (now === 'running' && id !== vm.id) {
            await api('PATCH', `/v1/vms/${id}`, { host_shutdown_seconds: 5 });
        }
    }
    await go(page, 'host', 'Host');
    await page.getByRole('button', { name: 'Shut down all guests …' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('what it has not written to its disks is lost').waitFor();
    const send = dialog.getByRole('button', { name: 'Shut down all guests', exact: true });
    await send.click();
    const sure = dialog.getByLabel(/^I know/);
    ok(await sure.evaluate((e) => e.validity.valueMissing), 'it wants to be sure');
    equal(await state(), 'running', 'the machine meanwhile');
    await axe(page, 'the question about all guests');
    await shot(page, 'shutdown-guests.png');
    await sure.check();
    await send.click();
    await dialog.waitFor({ state: 'detached' });
    const again = page.getByRole('button', { name: 'Start the guests again' });
    try {
        const row = page.getByRole('row', { name: `${name}-deaf` });
        await row.getByText('its plug was pulled').waitFor({ timeout: 120000 });
        await page.getByText('No machine starts at the moment').waitFor();
        ok((await api('GET', '/v1/host/shutdown-guests')).refuses_starts, 'nothing starts');
        await until('it is off', async () => (await state()) === 'stopped');
        await axe(page, 'the report of a shutdown');
        await row.scrollIntoViewIfNeeded();
        await shot(page, 'guests-report.png');
        const phone = await secondContext({
            viewport: { width: 360, height: 740 },
            hasTouch: true,
            colorScheme: 'dark',
        });
        await go(phone, 'host', 'Host');
        const width = await phone.evaluate(() => document.scrollingElement.scrollWidth);
        ok(width <= 360, `Host is ${width} wide`);
        await phone.getByRole('heading', { name: 'All guests' }).scrollIntoViewIfNeeded();
        await shot(phone, 'phone-guests-report.png');
        await phone.context().close();
        await until('it may be pressed', async () => again.isEnabled(), 120000); /* others have longer */
        await again.click();
        await until('it runs again', async () => (await state()) === 'running', 60000);
    } finally {
        await letThemStart();
    }
    equal((await api('GET', '/v1/host/shutdown-guests')).refuses_starts, false, 'starts refused');
});
