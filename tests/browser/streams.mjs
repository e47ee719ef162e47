// The other streams of a machine: display, serial ports, channels, vsock ports; side by side.
import { axe, ok, test, until } from './harness.mjs';
import { displayDisk } from './guest.mjs';
import { picture } from './pictures.mjs';
import { focused, go, makeImage, makeVm, name, page, secondContext, shot } from './shared.mjs';

const many = `${name}-many`;
const pane = (on, stream) => on.locator(`.pane[data-stream="${stream}"]`);
const printed = async (on, stream) =>
    (await pane(on, stream).locator('.xterm-rows').textContent()).replaceAll('\u00a0', ' ');
const live = (on, stream) =>
    pane(on, stream).locator('.console[data-status=live]').waitFor({ timeout: 30000 });
/* Whether anything but one colour is on the screen. */
const pictured = (on) =>
    pane(on, 'display')
        .locator('canvas')
        .first()
        .evaluate((canvas) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            const pixels = new Uint32Array(data.buffer);
            return pixels.some((pixel) => pixel !== pixels[0]);
        });

test('the display is drawn, and keys typed there reach the machine', async () => {
    await go(page, '', 'Machines');
    await makeImage({ name: many, kind: 'disk', format: 'raw' }, displayDisk());
    await makeVm({
        name: many,
        cpus: 1,
        memory_mib: 32,
        image: many,
        networks: [],
        display: true,
        serial_ports: 2,
        channels: ['org.drover.test'],
        start: true,
    });
    await go(page, `vms/${many}/display`, many);
    await live(page, 'display');
    await until('a picture', () => pictured(page), 30000);
    await page.getByRole('button', { name: 'Console', exact: true }).click();
    await live(page, 'console');
    await until('its prompt', async () => (await printed(page, 'console')).includes('>'), 30000);
    await page.getByRole('button', { name: 'Side by side' }).click();
    await pane(page, 'display').locator('canvas').first().click();
    await page.keyboard.type('seen');
    await until('the keys', async () => (await printed(page, 'console')).includes('seen'), 30000);
    await pane(page, 'display').locator('.console-tools summary').click();
    await pane(page, 'display').getByRole('button', { name: 'Type a text' }).click();
    await page.getByRole('dialog').getByLabel('Text').fill('Big & {small}');
    await page.getByRole('dialog').getByRole('button', { name: 'Type it' }).click();
    await until(
        'the text',
        async () => (await printed(page, 'console')).includes('Big & {small}'),
        30000,
    );
    await axe(page, 'display and console side by side');
    await shot(page, 'side-by-side.png');
});

test('the display can be left by a key, and only watched', async () => {
    await pane(page, 'display').locator('canvas').first().click();
    await page.keyboard.press('Control+Shift+L');
    ok((await focused(page)).includes('More for Display'), `focus: ${await focused(page)}`);
    await page.keyboard.press('Enter');
    await pane(page, 'display').getByRole('button', { name: 'Only watch' }).click();
    await pane(page, 'display')
        .locator('.console[data-mode=view][data-status=live]')
        .waitFor({ timeout: 30000 });
    await until('a picture', () => pictured(page), 30000);
    await pane(page, 'display').locator('canvas').first().click();
    await page.keyboard.type('NEVER');
    const other = await secondContext();
    await go(other, `vms/${many}/display`, many);
    await live(other, 'display');
    await until('a picture for both', () => pictured(other), 30000);
    await pane(other, 'display').locator('canvas').first().click();
    await other.keyboard.type('both');
    await until('the keys', async () => (await printed(page, 'console')).includes('both'), 30000);
    ok(!(await printed(page, 'console')).includes('NEVER'), 'a watcher cannot type');
    await other.context().close();
});

test('serial ports and channels open beside the console', async () => {
    await page.getByRole('button', { name: 'Serial 1' }).click();
    await live(page, 'serial/1');
    await page.getByRole('button', { name: 'Channel org.drover.test' }).click();
    await live(page, 'channels/org.drover.test');
    await until('four panes', async () => (await page.locator('.pane').count()) === 4);
    await page.keyboard.type('lnie\u0008\u0008\u0008ine');
    await until('what is typed to a channel is shown', async () =>
        (await printed(page, 'channels/org.drover.test')).includes('line'),
    );
    await axe(page, 'four streams');
    await picture(page, 'dashboard');
    await page.getByRole('button', { name: `Close Serial 1 of ${many}` }).click();
    await until('three panes', async () => (await page.locator('.pane').count()) === 3);
});

test('a vsock port is asked for, and a refusal is told in words', async () => {
    const port = page.getByRole('button', { name: 'vsock port' });
    if (!(await port.isVisible())) {
        return; /* this host gives its machines no vsock */
    }
    await port.click();
    await page.getByRole('dialog').getByLabel('Port').fill('4711');
    await page.keyboard.press('Enter');
    await pane(page, 'vsock/4711')
        .locator('.console[data-status=ended]')
        .waitFor({ timeout: 60000 });
    await pane(page, 'vsock/4711').getByRole('button', { name: 'Connect again' }).waitFor();
    await axe(page, 'a vsock port that nobody answers');
    await page.getByRole('button', { name: `Close vsock 4711 of ${many}` }).click();
});

test('streams on a phone and on the page of all consoles', async () => {
    const on = await secondContext({
        viewport: { width: 360, height: 740 },
        hasTouch: true,
        colorScheme: 'dark',
    });
    await go(on, `vms/${many}/display`, many);
    await live(on, 'display');
    await until('a picture', () => pictured(on), 30000);
    const width = await on.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 360, `the display makes the page ${width} wide`);
    await axe(on, 'display, phone');
    await shot(on, 'phone-display.png');
    await on.context().close();
    await page.getByRole('link', { name: 'Consoles', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'Consoles' }).waitFor();
    ok((await page.locator('.pane').count()) >= 3, 'the panes of this machine are here, too');
    await axe(page, 'all consoles');
    await shot(page, 'consoles.png');
});
