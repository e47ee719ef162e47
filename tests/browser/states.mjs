// Every page in every state: nothing there, the daemon in trouble, 1,000 rows, a phone, right to left.
import { axe, env, equal, ok, test, until } from './harness.mjs';
import { scrolled } from './frames.mjs';
import { asksByTheClock, watched } from './idle.mjs';
import { overlaps, wordsThatBreak } from './layout.mjs';
import { PAGES } from './pagelist.mjs';
import { api, go, name, secondContext, shot } from './shared.mjs';

const ROWS = 1000;
const AT_ONCE = 3;
const project = `${name}-empty`;
const REFUSAL = {
    type: '/problems/overloaded',
    title: 'The daemon has too much to do',
    status: 503,
    detail: 'It was asked while its disk did not answer.',
    remedy: 'Wait a moment; look at the host if this lasts.',
    instance: 'urn:drover:request:r-states',
    code: 'overloaded',
    retry: true,
};

/* look(on, one): `on` is a window of the worker's. A few at a time: most of a page's time is waiting. */
async function eachPage(pages, options, look) {
    const queue = [...pages];
    const problems = [];
    const worker = async () => {
        const on = await secondContext(options);
        while (queue.length > 0) {
            const one = queue.shift();
            await look(on, one).catch((error) =>
                problems.push(`${one.heading}: ${error.message ?? error}`),
            );
        }
        await on.unrouteAll({ behavior: 'ignoreErrors' });
        await on.context().close();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    ok(problems.length === 0, problems.join('\n'));
}

/* These show what is known of the machines already: loaded anew, nothing is. */
const showsHerd = ({ address }) => ['', 'consoles'].includes(address) || address.startsWith('vms/');

test('the daemon answers 503: each page says what, why, what to do and the request, and recovers', async () => {
    await eachPage(PAGES, {}, async (on, one) => {
        let bad = true;
        await on.route(
            ({ pathname }) => pathname.startsWith('/v1/') && !pathname.startsWith('/v1/session'),
            (route) =>
                bad && route.request().method() === 'GET'
                    ? route.fulfill({
                          status: 503,
                          contentType: 'application/problem+json',
                          body: JSON.stringify(REFUSAL),
                      })
                    : route.fallback(),
        );
        if (showsHerd(one)) {
            await on.goto('about:blank');
        }
        await on.goto(`${env.url}/#/${one.address}`);
        const said = on.getByRole('alert').filter({ hasText: REFUSAL.title }).first();
        await said.waitFor();
        for (const part of [REFUSAL.detail, REFUSAL.remedy, 'r-states']) {
            ok((await said.textContent()).includes(part), `${part} is said`);
        }
        await said.getByRole('button', { name: 'Try again' }).waitFor();
        bad = false;
        await on.getByRole('heading', { level: 1, name: one.heading }).waitFor();
        await until(
            'the trouble is over by itself',
            async () => (await on.getByText(REFUSAL.title).count()) === 0,
        );
        await on.unrouteAll({ behavior: 'ignoreErrors' });
    });
});

test('a project with nothing in it: each page says so, on a phone, left to right and right to left', async () => {
    await api('POST', '/v1/projects', { name: project });
    const pages = PAGES.filter(({ address }) => !address.startsWith('vms/'));
    try {
        await eachPage(pages, { viewport: { width: 360, height: 740 } }, async (on, one) => {
            if (on.url() === 'about:blank') {
                await on.addInitScript((wanted) => {
                    sessionStorage.setItem('drover-project', wanted);
                }, project);
            }
            await go(on, one.address, one.heading);
            const empty = one.rows && !['Access', 'Webhooks', 'Audit log', 'Activity'].includes(one.heading);
            if (empty) {
                ok((await on.locator(one.rows).count()) === 0, 'nothing is listed');
                const words = on.locator('.blank:visible, p.help:visible', {
                    hasText: /^(No |Nobody|Nothing)/,
                });
                await words.first().waitFor();
            }
            await looksRight(on, one, 'empty');
        });
    } finally {
        await api('DELETE', `/v1/projects/${project}`);
    }
});

test('each page on a phone, in both directions: nothing sticks out, nothing is asked for by the clock', async () => {
    const pages = [...PAGES, { address: `vms/${name}/console`, heading: name, console: true }];
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true };
    await eachPage(pages, {}, async (_, one) => {
        const page = await watched(one, phone);
        try {
            if (one.console) {
                await page.on.locator('.console[data-status=live]').waitFor({ timeout: 30000 });
            }
            await looksRight(page.on, one, 'phone');
            equal((await asksByTheClock(page)).join('\n'), '', 'asked for while nobody did anything');
        } finally {
            await page.on.context().close();
        }
    });
});

async function looksRight(on, { heading, address }, how) {
    const problems = [];
    for (const direction of ['ltr', 'rtl']) {
        await on.evaluate((dir) => document.documentElement.setAttribute('dir', dir), direction);
        const width = await on.evaluate(() => document.scrollingElement.scrollWidth);
        if (width > 360) {
            problems.push(`${heading}, ${direction}: ${width} wide`);
        }
        for (const fault of [...(await overlaps(on)), ...(await wordsThatBreak(on))]) {
            problems.push(`${heading}, ${direction}: ${fault}`);
        }
        if (direction === 'ltr') {
            await axe(on, `${heading}, ${how}`);
        }
        const file = address.endsWith('/console') ? 'console' : address.split('/')[0] || 'machines';
        await shot(on, `${how}-${direction}-${file}.png`);
    }
    ok(problems.length === 0, problems.join('\n'));
}

/* The answer's own things, with ids and names of their own, until there are enough of them. */
async function repeated(route) {
    const answer = await route.fetch();
    const body = await answer.json();
    const seen = body.items;
    const count = seen[0]?.seq ? ROWS : ROWS - seen.length;
    for (let i = 0; seen.length > 0 && i < count; i += 1) {
        const like = seen[i % seen.length];
        const copy = { ...like, id: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}` };
        for (const member of ['name', 'vm_name', 'holder', 'url']) {
            if (copy[member]) {
                copy[member] = `copy-x${i}x`;
            }
        }
        if (like.seq) {
            /* events are read forwards: the copies are older ones */
            copy.seq = 1e6 + i;
            copy.subject = { ...like.subject, name: `copy-x${i}x` };
        }
        if (like.request_id && !like.seq) {
            copy.request_id = `copy-x${i}x`;
        }
        if (copy.vm?.name) {
            copy.vm = { ...copy.vm, name: `copy-x${i}x` };
        }
        body.items.push(copy);
    }
    body.next_cursor = null;
    await route.fulfill({ response: answer, json: body });
}

/* One of each, for real, to be repeated. What takes it away again is put into `made`. */
async function oneOfEach(made) {
    const called = `${name}-lone`;
    const small = { memory_mib: 16, networks: [] };
    const recording = await api('POST', `/v1/vms/${name}/recordings`, { stream: 'console' });
    made.push(`/v1/recordings/${recording.id}`);
    await api('POST', `/v1/recordings/${recording.id}/stop`);
    await api('PUT', `/v1/pools/${called}`, { vm: small, ready: 0, max: 1, depth: 'cold' });
    made.push(`/v1/pools/${called}`);
    await api('POST', '/v1/images', { name: called, kind: 'iso' });
    made.push(`/v1/images/${called}`);
    const token = await api('POST', '/v1/tokens', { name: called, role: 'viewer' });
    made.push(`/v1/tokens/${token.id}`);
    const hook = await api('POST', '/v1/webhooks', {
        url: `http://${name}.invalid/`,
        events: ['token.revoked'],
    });
    made.push(`/v1/webhooks/${hook.id}`);
    const lease = await api('POST', '/v1/leases', { pool: called, ttl_seconds: 900 });
    made.push(`/v1/leases/${lease.id}`);
    await api('POST', '/v1/sets', {
        name: called,
        count: 1,
        start: false,
        machines: [{ name: 'a', memory_mib: 16 }],
    });
    made.push(`/v1/sets/${called}`);
}

test(`${ROWS} rows: each long list is found in, and scrolls smoothly`, async () => {
    const made = [];
    try {
        await oneOfEach(made);
        await eachPage(
            PAGES.filter(({ list }) => list && list !== '/v1/vms'),
            {},
            async (on, one) => {
                await on.route((url) => url.pathname === one.list, (route) =>
                    route.request().headers().accept.includes('event-stream')
                        ? route.fallback()
                        : repeated(route),
                );
                await go(on, one.address, one.heading);
                const rows = on.locator(one.rows);
                await until('all of them are rows', async () => (await rows.count()) >= ROWS, 60000);
                const frames = await scrolled(on);
                console.log(`# ${one.heading}: ${frames.words}`);
                ok(frames.isSmooth, frames.words);
                const label = /^(Search|Filter)/.test(one.find)
                    ? one.find
                    : `Find among the ${one.find}`;
                await on.getByLabel(label).fill('x777x');
                await until(
                    'one is left',
                    async () => (await rows.filter({ visible: true }).count()) === 1,
                );
                await on.getByLabel(label).fill('');
                await until(
                    'all are back',
                    async () => (await rows.filter({ visible: true }).count()) >= ROWS,
                );
                await shot(on, `thousand-${one.address}.png`);
                await on.unrouteAll({ behavior: 'ignoreErrors' });
            },
        );
    } finally {
        for (const path of made.reverse()) {
            const operation = await api('DELETE', path).catch((error) => console.log(`# ${error}`));
            if (operation?.id && operation.kind) {
                await api('GET', `/v1/operations/${operation.id}?wait=30`);
            }
        }
    }
});
