// What a page asks for while nobody does anything: nothing may be asked for by the clock.
import { until } from './harness.mjs';
import { go, secondContext } from './shared.mjs';

const AHEAD_MS = 50000; /* of the page's clock: every timer that is due by then fires, once */
const WINDOWS = 20;

/* Consoles at a glance read what consoles printed: it is in no stream but each console's own. */
const isWall = (url) => /\/(console\/log|display\.png)/.test(new URL(url).pathname);

/* Of what is asked for; `ahead` lets the timers of the page fire. */
export async function watched({ address, heading }, options) {
    const on = await secondContext(options);
    const asked = [];
    await on.clock.install();
    on.on('request', (request) => {
        if (new URL(request.url()).pathname.startsWith('/v1/') && !isWall(request.url())) {
            asked.push(`${heading}: ${request.method()} ${request.url()}`);
        }
    });
    await go(on, address, heading);
    await until('the event stream is live', () => on.locator('.live[data-live=live]').count());
    return { on, asked, heading };
}

/* What moved is read anew: a page is idle when nothing is asked for from one look to the next. */
export async function asksByTheClock({ on, asked }) {
    let last = [];
    for (let i = 0; i < WINDOWS; i += 1) {
        asked.length = 0;
        await on.clock.fastForward(AHEAD_MS);
        await on.evaluate(() => fetch('/livez')); /* what was asked before is on its way by now */
        if (asked.length === 0) {
            return [];
        }
        last = [...asked];
    }
    return last;
}
