// Consoles: what is typed, who may type, what is seen again.
import { execFileSync } from 'node:child_process';
import { BOOT_MS, axe, env, equal, foundation, ok, test, until } from './harness.mjs';
import { focused, go, name, page, row, screen, secondContext, shot, shows } from './shared.mjs';

const live = (on) => on.locator('.console[data-status=live]').first().waitFor({ timeout: 30000 });
const keyboard = (on, state) =>
    until(
        `the keyboard is ${state}`,
        () => on.locator(`.keyboard[data-keyboard=${state}]`).count(),
        20000,
    );
/* A line that the guest makes out of what is typed, so that an echo alone does not satisfy. */
const say = async (on, word) => {
    await on.locator('.console-screen').first().click();
    await on.keyboard.type(env.guest === 'linux' ? `echo ${word}-$((40+2))\n` : `${word}-42`);
};
const more = async (on, item) => {
    await on.locator('.console-tools summary').first().click();
    await on.locator('.console-tools').getByRole('button', { name: item }).click();
};
const viewers = (on, count) =>
    until(
        `${count} viewers`,
        async () =>
            (await on.locator('.people-menu summary').first().textContent()).startsWith(
                `${count} viewer`,
            ),
        20000,
    );

foundation('what is typed in the console comes back from the guest', async () => {
    await row()
        .getByRole('link', { name: `Console of ${name}` })
        .click();
    await live(page);
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

test('a guest reaches neither the clipboard (OSC 52) nor the browser by its links (OSC 8)', async () => {
    if (env.guest !== 'linux') {
        return; /* it prints what it likes only there */
    }
    const context = page.context();
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: env.url });
    await page.evaluate(() => navigator.clipboard.writeText('the reader’s own'));
    const [address, windows] = [page.url(), context.pages().length];
    const taken = Buffer.from('taken by the guest').toString('base64');
    await page.locator('.console-screen').first().click();
    await page.keyboard.type(
        `printf '\\033]52;c;${taken}\\007\\033]8;;${env.url}/docs\\033\\\\press-%s\\033]8;;\\033\\\\\\n' here\n`,
    );
    await shows(page, 'press-here');
    const link = page.locator('.xterm-rows span, .xterm-rows > div', { hasText: /^press-here\s*$/ });
    await link.last().click({ modifiers: ['Control'], force: true });
    equal(await page.locator('.xterm a').count(), 0, 'links in the terminal');
    equal(
        await page.evaluate(() => navigator.clipboard.readText()),
        'the reader’s own',
        'the clipboard',
    );
    equal(page.url(), address, 'where the page is');
    equal(context.pages().length, windows, 'windows');
    await context.clearPermissions();
});

test('a guest cannot set the title, and its colours are drawn', async () => {
    const title = await page.title();
    if (env.guest === 'linux') {
        await page.keyboard.type(
            "printf '\\033]0;gotcha\\007\\033[38;2;255;120;0mtrue-%s\\033[0m\\n' colour\n",
        );
        await shows(page, 'true-colour');
        /* A row that is drawn again is another element: each look finds it anew. */
        await until('its colour', () =>
            page.evaluate(() =>
                [...document.querySelectorAll('.xterm-rows span')].some(
                    (e) =>
                        e.textContent.startsWith('true-colour') &&
                        getComputedStyle(e).color === 'rgb(255, 120, 0)',
                ),
            ),
        );
    }
    equal(await page.title(), title, 'title');
    ok(
        await page
            .locator('.xterm-rows')
            .evaluate((e) => getComputedStyle(e).fontFamily.includes('monospace')),
        'the style sheet of the terminal applies',
    );
});

test('two windows, one keyboard: ask, hand over, take, give up', async () => {
    const other = await secondContext();
    await other.goto(`${env.url}/#/vms/${name}/console`);
    await shows(other, 'ear-tag-42');
    await viewers(page, 2);
    await keyboard(page, 'mine');
    await keyboard(other, 'other');
    await other.locator('.console-screen').click();
    await other.keyboard.type('NEVER');
    await until('a key pressed in vain says why', () =>
        other.locator('.keyboard[data-nudge]').count(),
    );
    await axe(other, 'a console that another holds');

    await other.getByRole('button', { name: 'Ask for it' }).click();
    const asks = page.getByRole('alert').filter({ hasText: 'asks for the keyboard' });
    await asks.waitFor();
    await page.locator('.people-menu summary').click();
    await page.getByText('asks for the keyboard', { exact: true }).waitFor();
    await axe(page, 'somebody asks for the keyboard');
    await shot(page, 'console-asked.png');
    await page.keyboard.press('Escape');
    await asks.getByRole('button', { name: 'Hand over' }).click();
    await keyboard(other, 'mine');
    await keyboard(page, 'other');
    await asks.waitFor({ state: 'detached' });
    await say(other, 'handed');
    await shows(page, 'handed-42');

    await page.getByRole('button', { name: 'Take it', exact: true }).click();
    await keyboard(page, 'mine');
    await other.locator('.notice').filter({ hasText: 'has the keyboard' }).waitFor();
    await say(page, 'taken');
    await shows(other, 'taken-42');
    await page.getByRole('button', { name: 'Give it up' }).click();
    await keyboard(other, 'free');
    await say(other, 'free');
    await shows(page, 'free-42');

    /* asked and withdrawn: the message goes with the wish */
    await page.getByRole('button', { name: 'Ask for it' }).click();
    const again = other.getByRole('alert').filter({ hasText: 'asks for the keyboard' });
    await again.waitFor();
    await page.getByRole('button', { name: 'Stop asking' }).click();
    await again.waitFor({ state: 'detached' });

    /* who holds it and only watches leaves it to who asks */
    await more(other, 'Only watch');
    await until('view mode', () =>
        other.locator('.console[data-mode=view][data-status=live]').count(),
    );
    await other.locator('.console-screen').click();
    await other.keyboard.type('NEVER');
    await say(page, 'after');
    await shows(other, 'after-42');
    ok(!(await screen(page)).some((line) => line.includes('NEVER')), 'a watcher cannot type');
    await other.context().close();
    await viewers(page, 1);
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
    await live(page);
    await keyboard(page, 'mine');
    await say(page, 'again');
    await shows(page, 'again-42');
    const after = await screen(page);
    const times = (lines) => lines.filter((line) => line.includes('after-42')).length;
    equal(times(after), times(before), 'lines that hold after-42');
});

test('a daemon that is killed and started again is followed without a reload', async () => {
    if (!env.restart) {
        return;
    }
    await page.evaluate(() => {
        window.__notReloaded = true;
    });
    execFileSync(env.restart, { stdio: 'ignore', timeout: 120000 });
    await until(
        'the console noticed',
        async () => (await screen(page)).some((line) => line.includes('daemon was restarted here')),
        60000,
    );
    await live(page);
    await until(
        'the event stream is live',
        () => page.locator('.live[data-live=live]').count(),
        60000,
    );
    await keyboard(page, 'mine');
    await say(page, 'back');
    await shows(page, 'back-42', 60000);
    const said = (await screen(page)).join('\n');
    equal(said.split('again-42').length - 1, 1, 'times that "again-42" is there');
    ok(await page.evaluate(() => window.__notReloaded), 'the page was not reloaded');
});

test('a console goes on while another page is looked at', async () => {
    const sockets = await page.evaluate(() => window.__sockets.length);
    if (env.guest === 'linux') {
        await page.locator('.console-screen').click();
        await page.keyboard.type('sleep 1; echo mean-$((40+2)); echo while-$((40+2))\n');
    } else {
        await say(page, 'while');
    }
    await page.getByRole('link', { name: 'Host', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Host' }).waitFor();
    equal(await page.locator('.console').count(), 0, 'consoles on the host page');
    await page.getByRole('link', { name: 'Consoles', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Consoles' }).waitFor();
    await shows(page, 'while-42');
    await page.locator('.pane-vm', { hasText: name }).click();
    await page.getByRole('heading', { level: 1, name }).waitFor();
    await shows(page, 'while-42');
    equal(await page.evaluate(() => window.__sockets.length), sockets, 'sockets opened on the way');
    await say(page, 'home');
    await shows(page, 'home-42');
});

test('the terminal can be left by key and by button', async () => {
    await page.locator('.xterm-helper-textarea').focus();
    await page.keyboard.press('Tab');
    ok((await focused(page)).startsWith('textarea'), 'Tab belongs to the guest');
    await page.keyboard.press('Control+Shift+L');
    ok((await focused(page)).includes('More for Console'), `focus is on: ${await focused(page)}`);
    await page.locator('.xterm-helper-textarea').focus();
    await more(page, 'Leave terminal');
    ok(!(await focused(page)).startsWith('textarea'), 'the button leaves too');
});

test('the screen reader mode puts the lines where a screen reader finds them', async () => {
    await more(page, 'Screen reader');
    await until('accessible lines', async () =>
        (await page.locator('.xterm-accessibility-tree').textContent()).includes('home-42'),
    );
    await more(page, 'Screen reader');
});

test('fit tells the guest and everybody who looks the size', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await page.getByRole('button', { name: 'Fit' }).click();
    await shows(page, 'stty rows');
    await page.keyboard.type('stty size | sed s/^/size-/\n');
    const line = await until('a size', async () =>
        (await screen(page)).find((l) => /^size-\d+ \d+/.test(l)),
    );
    const [, rows, columns] = /size-(\d+) (\d+)/.exec(line);
    ok(Number(columns) > 80, `wider than 80 columns: ${line}`);
    const other = await secondContext({ viewport: { width: 700, height: 600 } });
    await other.goto(`${env.url}/#/vms/${name}/console`);
    await until('the same size in a smaller window', async () =>
        (await other.locator('.console-facts').textContent()).includes(`${columns} × ${rows}`),
    );
    await other.context().close();
    await more(page, '80 × 24');
    await until('the usual size', async () =>
        (await page.locator('.console-facts').textContent()).includes('80 × 24'),
    );
});

test('a guest that floods its console leaves the page usable', async () => {
    if (env.guest !== 'linux') {
        return;
    }
    await page.locator('.console-screen').click();
    await page.keyboard.type(
        'for i in $(seq 1500); do printf "%01000d\\n" $i; done; echo flood-$((40+2))\n',
    );
    await shows(page, 'flood-42', 120000);
    await page.keyboard.type('echo calm-$((40+2))\n');
    await shows(page, 'calm-42', 20000);
});

test('pictures of consoles side by side', async () => {
    const on = await secondContext();
    await go(on, `vms/${name}`, name);
    equal(await on.locator('.console').count(), 0, 'consoles before one is asked for');
    await on.getByRole('button', { name: 'Console', exact: true }).click();
    await live(on);
    await axe(on, 'a console');
    await on.context().close();
});
