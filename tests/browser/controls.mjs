// Controls that are used rarely: each once with success, seen in the API, and each form once with wrong input.
import { BOOT_MS, axe, env, equal, newPage, ok, test, until } from './harness.mjs';
import { withCatalogue } from './fetching.mjs';
import { displayDisk } from './guest.mjs';
import { api, browser, go, makeImage, makeVm, name, page, secondContext, shot, shots } from './shared.mjs';

const dialog = page.getByRole('dialog');
const press = (words) => dialog.getByRole('button', { name: words, exact: true }).click();
const closed = () => dialog.waitFor({ state: 'detached', timeout: 30000 });
const one = `${name}-one`;
const two = `${name}-two`;
const label = `${name}-label`;
const guest = `${name}-ctl`;

/* The API refused what a field says: it is marked, the problem is whole, and nothing typed is gone. */
async function refused(where, field, kept) {
    await until(
        `${field} is marked`,
        async () =>
            (await where.getByLabel(field, { exact: true }).getAttribute('aria-invalid')) === 'true',
    );
    await where.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    for (const [label, value] of Object.entries(kept)) {
        equal(await where.getByLabel(label, { exact: true }).inputValue(), value, `${label} as typed`);
    }
}

/* The browser itself refuses it, points at the field and says why; nothing is sent. */
async function heldBack(where, field, value, button) {
    const control = where.getByLabel(field, { exact: true });
    await control.fill(value);
    await where.getByRole('button', { name: button, exact: true }).click();
    const told = await control.evaluate((e) => !e.validity.valid && e.validationMessage);
    ok(told, `the browser says what is wrong with ${field}`);
    equal(await control.inputValue(), value, `${field} as typed`);
}

const ended = (operation) => until(
    `${operation.kind} ends`,
    async () => (await api('GET', `/v1/operations/${operation.id}`)).state === 'succeeded',
    60000,
);

test('a label is made, moved and deleted, and an image is verified', async () => {
    await makeImage({ name: one, kind: 'disk', format: 'raw' }, displayDisk());
    const other = displayDisk();
    other[4096] = 1;
    await makeImage({ name: two, kind: 'disk', format: 'raw' }, other);
    await go(page, 'images', 'Images');
    const card = page.locator(`.card[data-image="${one}"]`);
    await card.getByLabel(`More for ${one}`).click();
    await card.getByRole('button', { name: `Label ${one}` }).click();
    await dialog.getByLabel('Label', { exact: true }).fill(two);
    await dialog.getByLabel('Versions that stay').fill('3');
    await press('Set the label');
    await refused(dialog, 'Label', { Label: two, 'Versions that stay': '3', 'It points at': one });
    await axe(page, 'the form of a label');
    await shot(page, 'label.png');
    await dialog.getByLabel('Label', { exact: true }).fill(label);
    await press('Set the label');
    await closed();
    const row = page.locator(`[data-label="${label}"]`);
    await row.filter({ hasText: one }).waitFor();
    await row.getByRole('button', { name: `Move the label ${label}` }).click();
    await dialog.getByLabel('It points at').selectOption(two);
    await press('Move');
    await closed();
    await row.filter({ hasText: two }).waitFor();
    const now = await api('GET', `/v1/image-labels/${label}`);
    equal(`${now.version} ${now.image_name} ${now.keep}`, `2 ${two} 3`, 'the label');

    await card.getByLabel(`More for ${one}`).click();
    await card.getByRole('button', { name: `Verify ${one}` }).click();
    await card.getByText(/verified/).waitFor({ timeout: 30000 });
    ok((await api('GET', `/v1/images/${one}`)).files.content.verified_at, 'it was read again');
    await axe(page, 'images with labels');
    await row.scrollIntoViewIfNeeded();
    await shot(page, 'labels.png');
    await row.getByRole('button', { name: `Delete the label ${label}` }).click();
    await dialog.getByText('Its images stay').waitFor();
    await press('Delete');
    await row.waitFor({ state: 'detached' });
    equal(
        (await api('GET', '/v1/image-labels')).items.some((l) => l.name === label),
        false,
        'the label is left',
    );
});

test('a catalogue source is added with its key, read again and deleted', async () => {
    const picture = await page.screenshot({ clip: { x: 0, y: 0, width: 16, height: 16 } });
    const source = `${name}-source`;
    await withCatalogue(picture, async (key, url) => {
        await go(page, 'images', 'Images');
        await page.getByRole('button', { name: 'Add a source' }).click();
        await dialog.getByLabel('Name', { exact: true }).fill(source);
        await dialog.getByLabel('Address of the index').fill(url);
        await dialog.getByLabel('Public key').fill('no key at all');
        await press('Add');
        await refused(dialog, 'Public key', { Name: source, 'Address of the index': url });
        await axe(page, 'the form of a source');
        await shot(page, 'source.png');
        await dialog.getByLabel('Public key').fill(key);
        await press('Add');
        await closed();
        const row = page.locator(`[data-source="${source}"]`);
        await row.getByText(/1 entry/).waitFor();
        await page.locator(`.card[data-entry="${source}:${name}-entry"]`).waitFor();
        const read = async () =>
            (await api('GET', '/v1/catalogue-sources')).items.find((s) => s.name === source)
                ?.refreshed_at;
        const before = await read();
        await row.getByRole('button', { name: `Refresh the source ${source}` }).click();
        await until('it was read again', async () => (await read()) > before);
        /* The list is drawn anew when the event of it comes. */
        await until('it is in view', () =>
            row.scrollIntoViewIfNeeded().then(
                () => true,
                () => false,
            ),
        );
        await shot(page, 'sources.png');
        await row.getByRole('button', { name: `Delete the source ${source}` }).click();
        await dialog.getByText('Images that came from it stay').waitFor();
        await press('Delete');
        await row.waitFor({ state: 'detached' });
        equal(await read(), undefined, 'the source');
        await page
            .locator(`.card[data-entry="${source}:${name}-entry"]`)
            .waitFor({ state: 'hidden' });
    });
});

test('a running machine is measured, its output forgotten, an image made of it', async () => {
    await makeVm({ name: guest, image: one, memory_mib: 32, networks: [], start: true });
    await go(page, `vms/${guest}`, guest);
    const panel = page.getByRole('region', { name: 'Root disk' });
    await panel.getByText(/shut the machine down first/).waitFor();
    ok(await panel.getByRole('button', { name: 'Make it stand alone' }).isDisabled(), 'while it is on');
    const rate = page.locator('.dirty-rate');
    await heldBack(rate, 'Seconds to watch how fast it writes to its memory', '61', 'Measure');
    await rate.getByRole('spinbutton').fill('1');
    await rate.getByRole('button', { name: 'Measure' }).click();
    await rate.getByText(/per second, at/).waitFor({ timeout: 30000 });

    await page.getByRole('button', { name: 'Console', exact: true }).click();
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    const log = () => page.evaluate(async (of) => (await fetch(`/v1/vms/${of}/console/log`)).text(), guest);
    await until('it printed something', async () => (await log()).length > 0, BOOT_MS);
    await page.getByLabel('More for Console').click();
    await page.getByRole('button', { name: 'Forget output …' }).click();
    await dialog.getByText('Recordings stay').waitFor();
    await press('Forget');
    await until('nothing is kept', async () => (await log()).length === 0);

    await axe(page, 'a machine with a root disk');
    await panel.screenshot({ path: `${shots}/root-disk.png` });
    await panel.getByRole('button', { name: 'Make an image' }).click();
    await dialog.getByLabel('Name of the image').fill(two);
    await dialog.getByLabel('Description').fill('What was typed');
    await press('Make the image');
    await refused(dialog, 'Name of the image', {
        'Name of the image': two,
        Description: 'What was typed',
    });
    await axe(page, 'the form of an image of a machine');
    await shot(page, 'publish.png');
    await dialog.getByLabel('Name of the image').fill(`${name}-made`);
    await dialog.getByLabel('Freeze its file systems').selectOption('no');
    await press('Make the image');
    await page.getByRole('heading', { level: 1, name: 'Images' }).waitFor();
    await until(
        'the image is ready',
        async () => (await api('GET', `/v1/images/${name}-made`)).state === 'ready',
        60000,
    );
    equal((await api('GET', `/v1/images/${name}-made`)).description, 'What was typed', 'its words');
});

test('a disk is put onto another image and made to stand alone; user data is read and changed', async () => {
    await api('POST', `/v1/vms/${guest}/stop?wait=30`);
    await go(page, `vms/${guest}`, guest);
    const panel = page.getByRole('region', { name: 'Root disk' });
    await panel.getByRole('button', { name: 'Put onto another image' }).click();
    await dialog.getByLabel('Image', { exact: true }).selectOption(two);
    await api('DELETE', `/v1/images/${name}-made`);
    await press('Put it there');
    await closed();
    await panel.getByText(`with the image ${two}`).waitFor({ timeout: 30000 });
    const before = await api('GET', `/v1/vms/${guest}`);
    equal(before.image, two, 'what it stands on');
    await panel.getByRole('button', { name: 'Make it stand alone' }).click();
    await dialog.getByText('takes room').waitFor();
    await press('Copy');
    await panel.getByText('It stands alone').waitFor({ timeout: 30000 });
    equal((await api('GET', `/v1/vms/${guest}`)).image_id, null, 'what it stands on now');

    const text = '#cloud-config\nhostname: <b>x</b>\n';
    await page.getByRole('button', { name: 'User data …' }).click();
    await dialog.getByLabel('User data', { exact: true }).fill(text);
    await api('PATCH', `/v1/vms/${guest}`, { description: 'changed meanwhile' });
    await press('Save');
    await dialog.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    equal(await dialog.getByLabel('User data', { exact: true }).inputValue(), text, 'what was typed');
    await axe(page, 'the form of user data');
    await press('Cancel');
    await closed();
    await until('the page knows the change', async () =>
        (await page.getByText('changed meanwhile').count()) > 0,
    );
    await page.getByRole('button', { name: 'User data …' }).click();
    await dialog.getByLabel('User data', { exact: true }).fill(text);
    await press('Save');
    await closed();
    equal(
        await page.evaluate(async (of) => (await fetch(`/v1/vms/${of}/user-data`)).text(), guest),
        text,
        'the user data',
    );
});

test('what a token may use is changed, and another browser is signed in', async () => {
    const token = await api('POST', '/v1/tokens', { name: `${name}-limited`, role: 'viewer' });
    await go(page, 'tokens', 'Access');
    await page.getByRole('button', { name: `Limits of ${name}-limited` }).click();
    await dialog.getByLabel('Virtual CPUs').fill('7');
    await dialog.getByLabel('Machines').fill('99999999999999999');
    await press('Change');
    await refused(dialog, 'Machines', { 'Virtual CPUs': '7' });
    await axe(page, 'the limits of a token');
    await shot(page, 'token-limits.png');
    await dialog.getByLabel('Machines').fill('3');
    await dialog.getByLabel('Disks in GiB').fill('1.5');
    await press('Change');
    await closed();
    const { quota } = await api('GET', `/v1/tokens/${token.id}`);
    equal(`${quota.vms} ${quota.cpus} ${quota.disk_bytes} ${quota.leases}`, '3 7 1610612736 null', 'limits');

    const form = page.locator('form', { has: page.getByRole('heading', { name: 'New token' }) });
    await form.getByText('Limits of its own').click();
    await form.getByLabel('Name').fill('x'.repeat(80));
    await form.getByLabel('Leases', { exact: true }).fill('2');
    await form.getByRole('button', { name: 'Create token' }).click();
    await refused(form, 'Name', { Name: 'x'.repeat(80), Leases: '2' });
    await form.getByLabel('Name').fill(`${name}-small`);
    await form.getByRole('button', { name: 'Create token' }).click();
    await page.locator('.secret').waitFor();
    const { items } = await api('GET', '/v1/tokens');
    const small = items.find((t) => t.name === `${name}-small`);
    equal(small.quota.leases, 2, 'its limit');
    for (const { id } of [token, small]) {
        await api('DELETE', `/v1/tokens/${id}`);
    }

    await page.locator('header .who').click();
    await dialog.getByRole('button', { name: 'Sign in another browser' }).click();
    const link = await dialog.locator('.secret').textContent();
    await axe(page, 'who is signed in');
    await shot(page, 'account.png');
    const other = await newPage(browser);
    await other.goto(link);
    await other.getByRole('heading', { level: 1, name: 'Machines' }).waitFor();
    await other.context().close();
    await press('Close');
});

test('a set is extended and put back, a webhook is changed', async () => {
    const set = `${name}-set`;
    const made = await api('POST', '/v1/sets', {
        name: set,
        count: 1,
        machines: [{ name: 'pc', memory_mib: 32, image: one, networks: [] }],
        start: false,
    });
    if (made.operation) {
        await ended(made.operation);
    }
    await go(page, `sets/${set}`, set);
    await page.getByRole('button', { name: `Extend ${set}` }).click();
    await heldBack(dialog, 'It ends in so many hours', '9000', 'Change');
    await axe(page, 'the form that extends a set');
    await shot(page, 'set-extend.png');
    await dialog.getByLabel('It ends in so many hours').fill('48');
    await press('Change');
    await closed();
    await page.getByText(/^Ends in 2 days|^Ends in 48 hours|^Ends in 47 hours/).waitFor();
    const left = Date.parse((await api('GET', `/v1/sets/${set}`)).expires_at) - Date.now();
    ok(left > 47 * 3600000 && left < 49 * 3600000, `it ends in ${left} ms`);

    await page.getByRole('button', { name: `Put back ${set}` }).click();
    await dialog.getByText('everything on their disks is lost').waitFor();
    await dialog.getByLabel('Image of pc').selectOption(two);
    await dialog.getByLabel('Afterwards').selectOption('false');
    await axe(page, 'the form that puts a set back');
    await shot(page, 'set-reimage.png');
    await press('Put back');
    await closed();
    await until(
        'it has the other image',
        async () => (await api('GET', `/v1/sets/${set}`)).machines[0].image === two,
        60000,
    );
    await until(
        'it is calm',
        async () => !(await api('GET', `/v1/sets/${set}`)).progress,
        60000,
    );
    await ended(await api('DELETE', `/v1/sets/${set}`));

    const hook = await api('POST', '/v1/webhooks', { url: `http://${name}.invalid/a` });
    await go(page, 'webhooks', 'Webhooks');
    await page.locator(`[data-webhook="${hook.id}"]`).getByRole('button', { name: /^Edit/ }).click();
    await dialog.getByLabel('Address').fill('http://user:word@hooks.invalid/');
    await dialog.getByLabel('Events').fill('vm.state, image.*');
    await press('Change');
    await refused(dialog, 'Address', { Events: 'vm.state, image.*' });
    await axe(page, 'the form that changes a webhook');
    await dialog.getByLabel('Address').fill(`http://${name}.invalid/b`);
    await press('Change');
    await closed();
    const now = await api('GET', `/v1/webhooks/${hook.id}`);
    equal(`${now.url} ${now.events}`, `http://${name}.invalid/b vm.state,image.*`, 'the webhook');
    await api('DELETE', `/v1/webhooks/${hook.id}`);
});

test('forms keep what was typed: lease, set, project, share, tuner', async () => {
    const pool = `${name}-pool`;
    await api('PUT', `/v1/pools/${pool}`, {
        vm: { memory_mib: 32, networks: [] },
        ready: 0,
        max: 1,
        ttl_seconds: 60,
        max_seconds: 600,
    });
    await go(page, 'leases', 'Leases');
    const lease = page.locator('form', { has: page.getByRole('heading', { name: 'Ask for' }) });
    await lease.getByLabel('Pool').selectOption(pool);
    await lease.getByLabel('Held by').fill('Ada');
    await lease.getByLabel('For', { exact: true }).selectOption('28800');
    await lease.getByRole('button', { name: 'Ask' }).click();
    await refused(lease, 'For', { 'Held by': 'Ada', For: '28800' });
    await api('DELETE', `/v1/pools/${pool}`);

    await go(page, 'sets', 'Sets');
    const set = page.locator('form', { has: page.getByRole('heading', { name: 'New set' }) });
    await set.getByLabel('Name', { exact: true }).fill('course');
    await set.getByLabel('Members').fill('2');
    await set.getByText('More settings').click();
    await set.getByLabel('Names of the machines').fill('same');
    await set.getByRole('button', { name: 'Create' }).click();
    await refused(set, 'Names of the machines', { Members: '2', 'Names of the machines': 'same' });

    await go(page, 'projects', 'Projects');
    const project = page.locator('form', { has: page.getByRole('heading', { name: 'New project' }) });
    await project.getByLabel('Name', { exact: true }).fill('default');
    await project.getByLabel('Leases').fill('4');
    await project.getByRole('button', { name: 'Create', exact: true }).click();
    await refused(project, 'Name', { Name: 'default', Leases: '4' });

    await go(page, `vms/${name}`, name);
    await page.getByRole('button', { name: 'Console', exact: true }).click();
    await page.locator('.console-tools').getByRole('button', { name: 'Share' }).first().click();
    await dialog.getByLabel('For whom (optional)').fill('Ada\u0007');
    await dialog.getByLabel('It expires after').selectOption('600');
    await press('Make the link');
    await refused(dialog, 'For whom (optional)', { 'It expires after': '600' });
    await press('Close');

    await go(page, 'memory', 'Memory');
    const tuner = page.locator('form', { has: page.getByRole('heading', { name: 'Control' }) });
    const who = tuner.getByLabel('Who turns the knobs');
    if (await who.isVisible()) {
        await who.selectOption('auto');
        await heldBack(tuner, 'Share of one CPU, in the long run (%)', '101', 'Let Drover do it');
    } else {
        await heldBack(tuner, 'Pages in one go', '0', 'Apply');
    }
    await tuner.getByRole('button', { name: 'Forget my changes' }).click();
});

test('who may only look is offered none of it', async () => {
    const token = await api('POST', '/v1/tokens', { name: `${name}-looks`, role: 'viewer' });
    const on = await newPage(browser);
    await on.goto(env.url);
    await on.getByLabel('Token').fill(token.token);
    await on.getByRole('button', { name: 'Sign in' }).click();
    await on.getByRole('heading', { level: 1, name: 'Machines' }).waitFor();
    const absent = [
        ['images', 'Images', /^(Add a source|New label|Verify|Label) ?/],
        ['host', 'Host', /guests/],
        [`vms/${guest}`, guest, /^(Make an image|User data|Put onto|Measure|Freeze|Password|SSH keys)/],
    ];
    for (const [address, heading, words] of absent) {
        await go(on, address, heading);
        await until('the page is whole', () =>
            on.evaluate(() => document.querySelectorAll('main .panel').length > 0),
        );
        const shown = on.getByRole('button', { name: words });
        equal(await shown.count(), 0, `buttons on ${heading}`);
        equal(await on.locator('main [role=alert]').filter({ hasText: 'Request' }).count(), 0, 'refusals');
    }
    await on.locator('header .who').click();
    await on.getByRole('dialog').getByText('viewer', { exact: true }).waitFor();
    await on.context().close();
    await api('DELETE', `/v1/tokens/${token.id}`);
});

test('the forms of rare controls fit a phone, light and dark', async () => {
    const machine = [
        [`vms/${guest}`, guest, 'Make an image …'],
        [`vms/${guest}`, guest, 'User data …'],
    ];
    const agent = ['Freeze …', 'Password …', 'SSH keys …'].map((words) => [`vms/${name}`, name, words]);
    const forms = [
        ['images', 'Images', 'New label'],
        ['images', 'Images', 'Add a source'],
        ['tokens', 'Access', 'Limits of'],
        ['host', 'Host', 'Shut down all guests …'],
        ...machine,
        ...(env.guest === 'linux' ? agent : []),
    ];
    const on = await secondContext({
        viewport: { width: 360, height: 740 },
        hasTouch: true,
        reducedMotion: 'reduce', /* colours are what they will be at once */
    });
    for (const [address, heading, opener] of forms) {
        await go(on, address, heading);
        await on.getByRole('button', { name: opener }).first().click();
        const open = on.getByRole('dialog');
        await open.waitFor();
        const [all, over] = await open.evaluate((d) => [
            document.scrollingElement.scrollWidth,
            d.scrollWidth - d.clientWidth,
        ]);
        ok(all <= 360 && over <= 0, `${opener}: the page is ${all} wide, the form ${over} too wide`);
        const file = `phone-form-${opener.replaceAll(/\W+/g, ' ').trim().replaceAll(' ', '-').toLowerCase()}`;
        await on.emulateMedia({ colorScheme: 'light' });
        await shot(on, `${file}-light.png`);
        await on.emulateMedia({ colorScheme: 'dark' });
        await axe(on, `${opener}, phone, dark`); /* light: where the form is used, above */
        await shot(on, `${file}-dark.png`);
        await open.getByRole('button', { name: 'Cancel' }).click();
    }
    await on.context().close();
});
