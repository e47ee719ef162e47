// The list: found, filtered, sorted, and a thousand of them.
import { scrolled } from './frames.mjs';
import { axe, env, equal, ok, test, until } from './harness.mjs';
import { go, name, page, row, secondContext, shot } from './shared.mjs';

const ROWS = 1000;
/* Made for real; in a short run the daemon's answer about these is repeated until it has ROWS. */
const COUNT = process.env.DROVER_TEST_LONG ? ROWS : 60;
const AT_ONCE = 8;
const many = `${name}-zoo`; /* behind all others */
const LAST_OF_RACK = `${many}${String(COUNT - 3).padStart(4, '0')}`; /* rack 7 */
const shownRows = (on = page) => on.locator('.vm');

async function eachOf(items, work) {
    const queue = [...items];
    const worker = async () => {
        while (queue.length > 0) {
            await work(queue.shift());
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/* Copies get ids and names of their own. */
async function multiply(route) {
    const answer = await route.fetch();
    const body = await answer.json();
    const { items } = body;
    for (let i = 0; items.length > 0 && body.items.length < ROWS; i += 1) {
        const id = `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
        body.items = [...body.items, { ...items[i % items.length], id, name: `${many}x${i}` }];
    }
    await route.fulfill({ response: answer, json: body });
}

test(`${ROWS} machines: a row is cheap until it is seen, and scrolling goes on`, async () => {
    await page.goto('about:blank');
    await eachOf(
        Array.from({ length: COUNT }, (_, i) => i),
        async (i) => {
            const answer = await page.context().request.post(`${env.url}/v1/vms`, {
                headers: { Origin: env.url },
                data: {
                    name: `${many}${String(i).padStart(4, '0')}`,
                    memory_mib: 16 + (i % 7),
                    networks: [],
                    labels: { rack: String(i % 10), herd: many },
                },
            });
            ok(answer.ok(), `creating one answered ${answer.status()}`);
        },
    );
    const on = await secondContext();
    if (COUNT < ROWS) {
        await on.route('**/v1/vms?*', multiply);
    }
    await go(on, '', 'Machines');
    await until('all of them are rows', async () => (await shownRows(on).count()) >= ROWS, 60000);
    const full = await on.locator('.vm summary').count();
    ok(full < 200, `${full} rows were made whole before anybody saw them`);
    const frames = await scrolled(on);
    console.log(`# ${frames.words}`);
    ok(frames.isSmooth, frames.words);
    const last = shownRows(on).last();
    await last.scrollIntoViewIfNeeded();
    await last.getByRole('button', { name: /^Start/ }).waitFor();
    await shot(on, 'thousand.png');
    await on.unrouteAll({ behavior: 'ignoreErrors' });
    await on.context().close();
});

test('machines are found by words, state and label, in an order, and the address keeps it', async () => {
    await go(page, '', 'Machines');
    await page.getByLabel('Filter machines').fill(`${many} stopped rack=3`);
    await until('a tenth is left', async () => (await shownRows().count()) === COUNT / 10);
    await page.getByLabel('Filter machines').fill(many);
    await page.getByRole('button', { name: /^stopped/ }).click();
    await page.getByLabel('Label').selectOption({ value: 'rack=7' });
    await until('a tenth is left', async () => (await shownRows().count()) === COUNT / 10);
    await page.getByRole('button', { name: 'Name, lowest first' }).click();
    const first = async () => (await page.locator('.vm-name').first().textContent()).trim();
    equal(await first(), LAST_OF_RACK, 'the first, sorted downwards');
    await page.reload();
    await until('a tenth is left', async () => (await shownRows().count()) === COUNT / 10);
    equal(await first(), LAST_OF_RACK, 'the first, after a reload');
    equal(await page.getByLabel('Label').inputValue(), 'rack=7', 'the label, after a reload');
    await page.getByLabel('Filter machines').fill('there is no such machine');
    await page.getByRole('button', { name: 'Show all' }).click();
    await until('all are back', async () => (await shownRows().count()) > COUNT);
});

test('many are deleted at once, after a question that says what is lost', async () => {
    await page.goto('about:blank');
    await go(page, `?q=${many}`, 'Machines');
    await until('they are shown', async () => (await shownRows().count()) === COUNT);
    await page.getByLabel(`Select ${many}0000`).check();
    await page.getByLabel(`Select ${many}0004`).click({ modifiers: ['Shift'] });
    const bar = page.getByRole('region', { name: 'Selected machines' });
    await bar.getByText('5 machines selected').waitFor();
    await axe(page, 'machines selected');
    await bar.getByRole('button', { name: 'Delete 5 machines' }).click();
    const dialog = page.getByRole('dialog').filter({ hasText: 'cannot be brought back' });
    await dialog.getByText(`${many}0003`).waitFor();
    await page.keyboard.press('Escape');
    await until('rows after Escape', async () => (await shownRows().count()) === COUNT);
    await page.getByLabel('All shown').check();
    await bar.getByText(`${COUNT.toLocaleString('en')} machines selected`).waitFor();
    await bar.getByRole('button', { name: /^Delete/ }).click();
    await dialog.getByText(`and ${COUNT - 12} more`).waitFor();
    await axe(page, 'bulk dialog');
    await dialog.getByRole('button', { name: /^Delete/ }).click();
    await bar
        .getByText(
            `Delete: ${COUNT.toLocaleString('en')} of ${COUNT.toLocaleString('en')} machines done.`,
        )
        .waitFor({
            timeout: 120000,
        });
    await until('they are gone', async () => (await shownRows().count()) === 0, 30000);
    await bar.getByRole('button', { name: 'Dismiss' }).click();
    await page.getByRole('button', { name: 'Show all' }).click();
    await row().waitFor();
});
