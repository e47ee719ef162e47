// From the first link to a machine that runs.
import {
    BOOT_MS,
    axe,
    env,
    equal,
    foundation,
    ok,
    seen,
    signInCode,
    test,
    until,
} from './harness.mjs';
import { focused, go, name, page, row, stateOf } from './shared.mjs';

test('a wrong sign-in link says what to do', async () => {
    await page.goto(`${env.url}/#code=wrongwrongwrongwrongwrongwrongww`);
    await page.getByRole('alert').filter({ hasText: 'not valid' }).waitFor();
    await axe(page, 'sign-in');
    equal(await page.evaluate(() => location.hash), '', 'the code in the address bar');
});

foundation('a one-time link signs in and leaves no code in the address', async () => {
    await page.goto('about:blank');
    await page.goto(`${env.url}/#code=${await signInCode()}`);
    await page.getByRole('heading', { level: 1, name: 'Machines' }).waitFor();
    equal(await page.evaluate(() => location.hash), '', 'the code in the address bar');
    await until('the event stream is live', () => page.locator('.live[data-live=live]').count());
    const cookie = (await page.context().cookies()).find((c) => c.name === 'drover_session');
    ok(
        cookie?.httpOnly && cookie.sameSite === 'Strict',
        'the session cookie is HttpOnly and SameSite=Strict',
    );
});

test('the policy in force allows nothing inline and nothing foreign', async () => {
    const policy = (await page.reload()).headers()['content-security-policy'] ?? '';
    ok(policy.includes("default-src 'none'"), `policy: ${policy}`);
    ok(!policy.includes('unsafe'), `policy: ${policy}`);
    await page.evaluate(() =>
        document.head.append(
            Object.assign(document.createElement('style'), { textContent: 'p { color: red }' }),
        ),
    );
    await until('the probe for violations reports one', () => seen.csp.length === 1);
    await until('the browser says so, too', () => seen.console.length > 0);
    seen.csp.length = 0;
    seen.console.length = 0;
    await page.getByRole('heading', { level: 1, name: 'Machines' }).waitFor();
});

test('a refused form keeps what was typed and marks the field', async () => {
    await go(page, 'new', 'New machine');
    const field = page.getByLabel('Name', { exact: true });
    await field.evaluate((input) => input.removeAttribute('pattern'));
    await field.fill('Not A Name');
    await page.getByLabel('Memory in MiB').fill('300');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'Request' }).waitFor();
    equal(await field.getAttribute('aria-invalid'), 'true', 'aria-invalid');
    equal(await field.inputValue(), 'Not A Name', 'the name typed');
    equal(await page.getByLabel('Memory in MiB').inputValue(), '300', 'the memory typed');
    ok((await focused(page)).startsWith('input'), 'the focus is in the field');
    await axe(page, 'create, refused');
});

foundation('a machine is created, starts and is seen running without a reload', async () => {
    await go(page, 'new', 'New machine');
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByLabel('Image').selectOption(env.image);
    await page.getByLabel('Memory in MiB').fill('256');
    ok(
        (await page.getByLabel('The same with curl').textContent()).includes(`"name":"${name}"`),
        'the curl line follows the form',
    );
    ok(
        (await page.getByLabel('The same with drover').textContent()).includes(name),
        'the drover line follows the form',
    );
    await page.evaluate(() => {
        window.__notReloaded = true;
    });
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('heading', { level: 1, name }).waitFor();
    await until(
        'running',
        async () => (await page.locator('.page-head .tag').textContent()) === 'running',
        BOOT_MS,
    );
    const badge = await page.locator('.page-head .badge').textContent();
    ok(
        badge === 'kvm' || /^emulated: .+/.test(await page.locator('.vm-why').textContent()),
        `the page says how it runs: ${badge}`,
    );
    await page.getByRole('link', { name: 'Machines' }).first().click();
    equal(await stateOf(), 'running', 'state in the list');
    ok(await page.evaluate(() => window.__notReloaded), 'the page was not reloaded');
});

test('figures arrive while the list is looked at', async () => {
    await until(
        'resident memory',
        async () => /\d/.test(await row().locator('.figure').nth(1).textContent()),
        20000,
    );
    await until(
        'a line in the sparkline',
        async () =>
            ((await row().locator('.spark-cpu .spark-line').getAttribute('d')) ?? '').includes('L'),
        20000,
    );
});
