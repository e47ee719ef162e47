/* A line under the header when something is between the reader and the daemon. Silent while all is well. */
import { h, replace, setHidden } from './dom.js';
import { plural } from './format.js';
import { health } from './health.js';

const LOST_MS = 1500; /* a reconnect that takes less is not worth a word */

export function banner(live, signal) {
    const lost = h('p');
    const slow = h(
        'p',
        null,
        'The daemon is slow: something was asked more than 5 seconds ago and is not answered ' +
            'yet. It goes on when it is.',
    );
    const skew = h('p');
    const parts = { lost, slow, skew };
    const root = h('div', { class: 'banner', role: 'status', hidden: true }, lost, slow, skew);
    let since = null;
    let timer = null;
    let ignored = false;
    Object.values(parts).forEach((part) => setHidden(part, true));

    function put(part, shown) {
        setHidden(part, !shown);
        setHidden(
            root,
            Object.values(parts).every((p) => p.hidden),
        );
    }

    live.on(
        'status',
        (status) => {
            clearTimeout(timer);
            if (status === 'live') {
                since = null;
                put(lost, false);
                return;
            }
            since ??= new Date();
            if (status === 'lost' && lost.hidden) {
                timer = setTimeout(sayLost, LOST_MS);
            }
        },
        signal,
    );
    function sayLost() {
        const at = since.toLocaleTimeString(undefined, { hour12: false });
        replace(
            lost,
            h('strong', null, 'The daemon cannot be reached. '),
            `What you see is as it was at ${at}. It is tried again and again; consoles and pages ` +
                `go on by themselves. `,
            h(
                'button',
                { type: 'button', class: 'button small', onclick: () => live.wake() },
                'Try now',
            ),
        );
        put(lost, true);
    }
    health.on('slow', (is) => put(slow, is), signal);
    const showSkew = () => {
        const off = Math.abs(health.skew) / 1000;
        const words =
            off < 120
                ? plural(Math.round(off), 'second')
                : off < 7200
                  ? plural(Math.round(off / 60), 'minute')
                  : plural(Math.round(off / 3600), 'hour');
        const way = health.skew > 0 ? 'ahead of' : 'behind';
        replace(
            skew,
            `The clock of the host is ${words} ${way} the one of this computer. Times are the ` +
                `host’s; “ago” and “in” are counted by its clock. `,
            h(
                'button',
                {
                    type: 'button',
                    class: 'button small',
                    onclick() {
                        ignored = true;
                        put(skew, false);
                    },
                },
                'Dismiss',
            ),
        );
        put(skew, health.skew !== 0 && !ignored);
    };
    health.on('skew', showSkew, signal);
    if (health.skew !== 0) {
        showSkew();
    }
    signal.addEventListener('abort', () => clearTimeout(timer));
    return root;
}
