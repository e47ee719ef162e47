// Images: uploaded with progress, made a machine of, deleted.
import { axe, ok, test, until } from './harness.mjs';
import { displayDisk } from './guest.mjs';
import { go, name, page, shot } from './shared.mjs';

const image = `${name}-image`;
const form = page.locator('form', { hasText: 'Upload an image' });
const card = (named = image) => page.locator(`.card[data-image="${named}"]`);

test('an image is uploaded, a machine is offered from it, and it is deleted', async () => {
    await go(page, 'images', 'Images');
    await form.getByLabel('File', { exact: true }).setInputFiles({
        name: `${image}.img`,
        mimeType: 'application/octet-stream',
        buffer: displayDisk(),
    });
    ok(
        (await form.getByLabel('Name', { exact: true }).inputValue()) === image,
        'a name is offered',
    );
    ok((await form.getByLabel('Format').inputValue()) === 'raw', 'the format is guessed');
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    await until(
        'it is ready',
        async () => (await card().locator('.tag').textContent({ timeout: 20000 })) === 'ready',
        30000,
    );
    await axe(page, 'images');
    await shot(page, 'images.png');
    await card()
        .getByRole('link', { name: `New machine from ${image}` })
        .click();
    await page.getByRole('heading', { level: 1, name: 'New machine' }).waitFor();
    ok((await page.getByLabel('Image').inputValue()) === image, 'it is chosen');
    await go(page, 'images', 'Images');
    await card()
        .getByRole('button', { name: `Delete ${image}` })
        .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card().waitFor({ state: 'detached', timeout: 20000 });
});

test('a file that is not what it is said to be is refused in words, and can be replaced', async () => {
    await go(page, 'images', 'Images');
    await form.getByLabel('File', { exact: true }).setInputFiles({
        name: `${image}.qcow2`,
        mimeType: 'application/octet-stream',
        buffer: Buffer.from('this is no qcow2'),
    });
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    const refusal = page.getByRole('alert').filter({ hasText: `Uploading ${image} did not work` });
    await refusal.filter({ hasText: 'Request' }).waitFor({ timeout: 20000 });
    await axe(page, 'an image that was refused');
    await refusal.getByRole('button', { name: 'Dismiss' }).click();
    await card()
        .getByRole('button', { name: `Upload the file of ${image}` })
        .waitFor();
    await form.getByLabel('Name', { exact: true }).fill(image);
    await form.getByLabel('File', { exact: true }).setInputFiles({
        name: 'x.img',
        mimeType: 'application/octet-stream',
        buffer: displayDisk(),
    });
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    await until(
        'the name that is taken is marked',
        async () =>
            (await form.getByLabel('Name', { exact: true }).getAttribute('aria-invalid')) ===
            'true',
    );
    await card()
        .getByRole('button', { name: `Delete ${image}` })
        .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card().waitFor({ state: 'detached', timeout: 20000 });
});

test('a file of another format is converted on the way', async () => {
    const foreign = `${name}-vdi`;
    await go(page, 'images', 'Images');
    await form.getByLabel('Name', { exact: true }).fill(foreign); // what was typed before stays
    await form.getByLabel('File', { exact: true }).setInputFiles({
        name: `${foreign}.vdi`,
        mimeType: 'application/octet-stream',
        buffer: Buffer.alloc(8192, 'this is no VDI'), // shorter is too short for any disk
    });
    ok((await form.getByLabel('Format').inputValue()) === 'vdi', 'the format is guessed');
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    const refusal = page
        .getByRole('alert')
        .filter({ hasText: `Uploading ${foreign} did not work` });
    await refusal.filter({ hasText: 'VDI' }).waitFor({ timeout: 20000 });
    await refusal.getByRole('button', { name: 'Dismiss' }).click();
    await card(foreign)
        .getByRole('button', { name: `Delete ${foreign}` })
        .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card(foreign).waitFor({ state: 'detached', timeout: 20000 });
});

test('an image is described, shows it, and is run with one press', async () => {
    const described = `${name}-told`;
    await go(page, 'images', 'Images');
    await form.getByLabel('Name', { exact: true }).fill(described);
    await form.getByLabel('File', { exact: true }).setInputFiles({
        name: `${described}.img`,
        mimeType: 'application/octet-stream',
        buffer: displayDisk(),
    });
    await page.getByRole('button', { name: 'Upload', exact: true }).click();
    const run = card(described).getByRole('button', { name: `Run ${described}` });
    await run.waitFor({ timeout: 30000 });
    await card(described)
        .getByRole('button', { name: `Describe ${described}` })
        .click();
    const sheet = page.getByRole('dialog');
    await sheet.getByLabel('Title').fill('A <b>picture</b>');
    await sheet.getByLabel('Notes').fill('It draws.');
    await sheet.getByLabel('Memory in MiB').fill('48');
    await sheet.getByLabel('Its console shows').fill('(open');
    await sheet.getByRole('button', { name: 'Save' }).click();
    await until(
        'the pattern is marked',
        async () =>
            (await sheet.getByLabel('Its console shows').getAttribute('aria-invalid')) === 'true',
    );
    await axe(page, 'the form of an image');
    await sheet.getByLabel('Its console shows').fill('');
    await sheet.getByRole('button', { name: 'Save' }).click();
    await card(described)
        .getByText('A <b>picture</b>', { exact: true })
        .waitFor({ timeout: 20000 });
    await run.click();
    await page.getByRole('heading', { level: 1, name: described }).waitFor({ timeout: 20000 });
    const vm = await page.evaluate(async (of) => (await fetch(`/v1/vms/${of}`)).json(), described);
    ok(vm.memory_mib === 48 && vm.image === described, 'it has what the image says');
    const gone = await page.evaluate(async (of) => {
        const end = (path) => fetch(path, { method: 'DELETE' }).then((answer) => answer.status);
        return [
            await end(`/v1/vms/${of}?force=true&wait=60`),
            await end(`/v1/images/${of}?retire=true`),
        ];
    }, described);
    ok(gone[0] < 300 && gone[1] < 300, `machine and image are gone: ${gone}`);
});
