// How much comes over the line and how soon something is seen; right to left; the nav on a phone.
import { axe, ok, test, until } from './harness.mjs';
import { go, name, secondContext, shot } from './shared.mjs';

const TRANSFER_BYTES = 200 * 1024;
const PAINT_MS = 3000; /* the promise is 300 ms on an idle host; this one runs guests beside it */

test('before a console is opened, less than 200 KiB come over the line, and something is seen', async () => {
    const on = await secondContext();
    const session = await on.context().newCDPSession(on);
    await session.send('Network.enable');
    let bytes = 0;
    let isFirst = true; /* of the other pages only the program counts, not what they list */
    const programs = new Set();
    session.on('Network.requestWillBeSent', ({ requestId, request }) => {
        if (new URL(request.url).pathname.startsWith('/assets/')) {
            programs.add(requestId);
        }
    });
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
        if (isFirst || programs.has(requestId)) {
            bytes += encodedDataLength;
        }
    });
    await go(on, '', 'Machines');
    await on.getByRole('link', { name, exact: true }).waitFor();
    const paint = await until('the first paint', () =>
        on.evaluate(
            () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
        ),
    );
    isFirst = false;
    for (const [address, heading] of [
        ['new', 'New machine'],
        ['sets', 'Sets'],
        ['pools', 'Pools'],
        ['leases', 'Leases'],
        ['images', 'Images'],
        ['recordings', 'Recordings'],
        ['memory', 'Memory'],
        ['activity', 'Activity'],
        ['host', 'Host'],
        ['webhooks', 'Webhooks'],
        ['audit', 'Audit log'],
        ['projects', 'Projects'],
        ['tokens', 'Access'],
    ]) {
        await go(on, address, heading);
    }
    console.log(`# ${(bytes / 1024).toFixed(0)} KiB, first paint after ${paint.toFixed(0)} ms`);
    ok(bytes > 0 && bytes < TRANSFER_BYTES, `${bytes} bytes were transferred`);
    ok(paint > 0 && paint < PAINT_MS, `the first paint came after ${paint} ms`);
    await on.context().close();
});

test('right to left, nothing is cut off or laid over', async () => {
    const on = await secondContext({ viewport: { width: 360, height: 740 } });
    for (const [address, heading] of [
        ['', 'Machines'],
        ['new', 'New machine'],
        ['activity', 'Activity'],
        [`vms/${name}`, name],
    ]) {
        await go(on, address, heading);
        await on.evaluate(() => document.documentElement.setAttribute('dir', 'rtl'));
        const width = await on.evaluate(() => document.scrollingElement.scrollWidth);
        ok(width <= 360, `${heading} is ${width} wide, right to left`);
        await axe(on, `${heading}, right to left`);
        await shot(on, `rtl-${address.split('/')[0] || 'machines'}.png`);
    }
    await on.context().close();
});
