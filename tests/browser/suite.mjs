// The dashboard, from the first link to the last click. Tests run in order and share one machine.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import './modules.mjs';
import {
    BOOT_MS,
    axe,
    env,
    equal,
    foundation,
    newPage,
    ok,
    openBrowser,
    runAll,
    seen,
    signInCode,
    test,
    until,
} from './harness.mjs';

const shots = path.join(path.dirname(fileURLToPath(import.meta.url)), 'shots');
mkdirSync(shots, { recursive: true });
const name = `browser-${Math.random().toString(36).slice(2, 8)}`;
const browser = await openBrowser();
const page = await newPage(browser);

const row = (on = page) => on.locator('.vm', { has: on.getByRole('link', { name, exact: true }) });
const stateOf = async (on = page) => await row(on).locator('.tag').textContent({ timeout: 5000 });
const screen = async (on) =>
    (await on.locator('.xterm-rows > div').allTextContents()).map((line) =>
        line.replaceAll('\u00a0', ' ').trimEnd(),
    );
const shows = (on, text, ms = 20000) =>
    until(
        `the console shows ${JSON.stringify(text)}`,
        async () => (await screen(on)).some((line) => line.includes(text)),
        ms,
    );
const go = async (on, address, heading) => {
    await on.goto(`${env.url}/#/${address}`);
    await on.getByRole('heading', { level: 1, name: heading }).waitFor();
};
const shot = (on, file) => on.screenshot({ path: path.join(shots, file) });
const focused = (on) =>
    on.evaluate(() => {
        const at = document.activeElement;
        return [
            at.tagName.toLowerCase(),
            at.getAttribute('aria-label') ?? at.textContent.trim(),
        ].join(' ');
    });
const secondContext = async (options) =>
    newPage(browser, { storageState: await page.context().storageState(), ...options });

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
        (await page.locator('pre').textContent()).includes(`"name":"${name}"`),
        'the curl line follows the form',
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

foundation('what is typed in the console comes back from the guest', async () => {
    await row()
        .getByRole('link', { name: `Console of ${name}` })
        .click();
    await page.locator('.console[data-status=live]').waitFor({ timeout: 20000 });
    await until(
        'the guest printed something',
        async () => (await screen(page)).some((line) => line.trim()),
        BOOT_MS,
    );
    if (env.guest === 'linux') {
        await shows(page, '#', BOOT_MS);
        await page.keyboard.type('echo ear-tag-$((6*7))\n');
    } else {
        await page.keyboard.type('ear-tag-42');
    }
    await shows(page, 'ear-tag-42', 30000);
});

test('a guest cannot set the title, and its colours are drawn', async () => {
    const title = await page.title();
    if (env.guest === 'linux') {
        await page.keyboard.type(
            "printf '\\033]0;gotcha\\007\\033[38;2;255;120;0mtrue-%s\\033[0m\\n' colour\n",
        );
        await shows(page, 'true-colour');
        const colour = await page
            .locator('.xterm-rows span', { hasText: /^true-colour/ })
            .first()
            .evaluate((e) => getComputedStyle(e).color);
        equal(colour, 'rgb(255, 120, 0)', 'computed colour');
    }
    equal(await page.title(), title, 'title');
    ok(
        await page
            .locator('.xterm-rows')
            .evaluate((e) => getComputedStyle(e).fontFamily.includes('monospace')),
        'the style sheet of the terminal applies',
    );
});

test('a second window sees the same and both are counted', async () => {
    const other = await secondContext();
    await other.goto(`${env.url}/#/vms/${name}/console`);
    await shows(other, 'ear-tag-42');
    await until('two viewers', async () =>
        (await page.locator('.console-facts').textContent()).includes('2 viewers'),
    );
    await other.locator('.console-screen').click();
    await other.keyboard.type(env.guest === 'linux' ? 'echo from-$((40+2))-two\n' : 'from-42-two');
    await shows(page, 'from-42-two');
    await other.getByRole('button', { name: 'Only watch' }).click();
    await until('view mode', () =>
        other.locator('.console[data-mode=view][data-status=live]').count(),
    );
    await other.locator('.console-screen').click();
    await other.keyboard.type('NEVER');
    await page.locator('.console-screen').click();
    await page.keyboard.type(env.guest === 'linux' ? 'echo after-$((40+2))\n' : 'after-42');
    await shows(other, 'after-42');
    ok(!(await screen(page)).some((line) => line.includes('NEVER')), 'a watcher cannot type');
    await other.context().close();
    await until('one viewer', async () =>
        (await page.locator('.console-facts').textContent()).includes(' 1 viewer '),
    );
});

test('a broken connection resumes without a hole or a repeat', async () => {
    const before = await screen(page);
    await page.evaluate(() => window.__sockets.at(-1).close());
    await until('connected again', () =>
        page.evaluate(
            () =>
                window.__sockets.at(-1).readyState === WebSocket.OPEN &&
                window.__sockets.at(-1).url.includes('from='),
        ),
    );
    await page.locator('.console[data-status=live]').waitFor();
    await page.locator('.console-screen').click();
    await page.keyboard.type(env.guest === 'linux' ? 'echo again-$((40+2))\n' : 'again-42');
    await shows(page, 'again-42');
    const after = await screen(page);
    const times = (lines) => lines.filter((line) => line.includes('after-42')).length;
    equal(times(after), times(before), 'lines that hold after-42');
});

test('the terminal can be left by key and by button', async () => {
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.press('Tab');
    ok((await focused(page)).startsWith('textarea'), 'Tab belongs to the guest');
    await page.keyboard.press('Control+Shift+L');
    ok((await focused(page)).includes('Leave terminal'), `focus is on: ${await focused(page)}`);
    await page.locator('.xterm-helper-textarea').focus();
    await page.getByRole('button', { name: 'Leave terminal' }).click();
    ok(!(await focused(page)).startsWith('textarea'), 'the button leaves too');
});

test('the screen reader mode puts the lines where a screen reader finds them', async () => {
    await page.getByRole('button', { name: 'Screen reader' }).click();
    await until('accessible lines', async () =>
        (await page.locator('.xterm-accessibility-tree').textContent()).includes('again-42'),
    );
    await page.getByRole('button', { name: 'Screen reader' }).click();
});

test('fit tells a Linux guest the size', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await page.getByRole('button', { name: 'Fit' }).click();
    await shows(page, 'stty rows');
    await page.keyboard.type('stty size | sed s/^/size-/\n');
    const line = await until('a size', async () =>
        (await screen(page)).find((l) => /^size-\d+ \d+/.test(l)),
    );
    ok(Number(/size-(\d+) (\d+)/.exec(line)[2]) > 80, `wider than 80 columns: ${line}`);
});

test('a guest that floods its console leaves the page usable', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await page.keyboard.type(
        'for i in $(seq 1500); do printf "%01000d\\n" $i; done; echo flood-$((40+2))\n',
    );
    await shows(page, 'flood-42', 60000);
    await page.keyboard.type('echo calm-$((40+2))\n');
    await shows(page, 'calm-42', 10000);
});

test('pictures and axe: every page, light and dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const on = await secondContext({ colorScheme });
        const pages = [
            ['', 'Machines', 'machines'],
            ['new', 'New machine', 'new'],
            ['memory', 'Memory', 'memory'],
            ['host', 'Host', 'host'],
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
                await on.getByRole('button', { name: 'Open console' }).click();
                await on.locator('.console[data-status=live]').waitFor();
                await shows(on, env.guest === 'linux' ? '#' : '42');
            }
            await axe(on, `${file}, ${colorScheme}`);
            await shot(on, `${file}-${colorScheme}.png`);
        }
        await on.context().close();
    }
});

test('nothing is wider than a phone of 360 pixels', async () => {
    const on = await secondContext({ viewport: { width: 360, height: 740 }, hasTouch: true });
    const pages = [
        ['', 'Machines'],
        ['new', 'New machine'],
        ['memory', 'Memory'],
        ['host', 'Host'],
        ['tokens', 'Access'],
        [`vms/${name}/console`, name],
    ];
    for (const [address, heading] of pages) {
        await go(on, address, heading);
        if (address.endsWith('console')) {
            await on.locator('.console[data-status=live]').waitFor();
        }
        const width = await on.evaluate(() => document.scrollingElement.scrollWidth);
        ok(width <= 360, `${heading} is ${width} wide`);
        await axe(on, `${heading}, phone`);
        await shot(
            on,
            `phone-${address.endsWith('console') ? 'console' : address || 'machines'}.png`,
        );
    }
    await on.context().close();
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

test('a change made elsewhere is seen, and the console of a stopped machine waits for its start', async () => {
    await page.goto(`${env.url}/#/vms/${name}/console`);
    await page.locator('.console').waitFor();
    const other = await secondContext();
    await go(other, '', 'Machines');
    await row(other)
        .getByRole('button', { name: `Start ${name}` })
        .click();
    await until(
        'running',
        async () => (await page.locator('.page-head .tag').textContent()) === 'running',
        BOOT_MS,
    );
    await page.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
    await until(
        'the guest printed something',
        async () => (await screen(page)).some((line) => line.trim()),
        BOOT_MS,
    );
    await other.context().close();
});

test('deleting says what is lost and takes the machine away', async () => {
    await go(page, '', 'Machines');
    await row().locator('summary').click();
    await row()
        .getByRole('button', { name: `Delete ${name}` })
        .click();
    await page
        .getByRole('dialog')
        .filter({ hasText: 'cannot be brought back' })
        .getByRole('button', { name: 'Delete' })
        .click();
    await row().waitFor({ state: 'detached', timeout: 30000 });
});

test('a token is made, shown once and revoked', async () => {
    await go(page, 'tokens', 'Access');
    await page.getByLabel('Name', { exact: true }).fill(`${name}-token`);
    await page.getByRole('button', { name: 'Create token' }).click();
    ok((await page.locator('.secret').textContent()).length > 10, 'the secret is shown');
    await page.getByRole('button', { name: `Revoke ${name}-token` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('button', { name: `Revoke ${name}-token` }).waitFor({ state: 'detached' });
});

test('signing out ends the session', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('API token').waitFor();
    await page.reload();
    await page.getByLabel('API token').waitFor();
});

test('no policy violation, no script error, no request to another host', async () => {
    equal(seen.csp.join('\n'), '', 'violations of the Content-Security-Policy');
    equal(seen.errors.join('\n'), '', 'uncaught errors');
    equal(seen.console.join('\n'), '', 'errors on the browser console');
    equal(seen.foreign.join('\n'), '', 'requests to other hosts');
});

async function cleanUp() {
    if (env.token) {
        await fetch(`${env.url}/v1/vms/${name}?force=true`, {
            method: 'DELETE',
            headers: { Authorization: `Bearer ${env.token}` },
        });
        return;
    }
    await page
        .evaluate(async (wanted) => {
            await fetch(`/v1/vms/${wanted}?force=true`, { method: 'DELETE' });
        }, name)
        .catch(() => {});
}

let failures = 0;
const good = await runAll(process.argv.slice(2), async () => {
    failures += 1;
    await shot(page, `failure-${failures}.png`).catch(() => {});
});
await cleanUp();
await browser.close();
process.exit(good ? 0 : 1);
