/* Leases: who holds which machine until when; renewing, giving back, and what happened. */
import { del, get, listAll, post, request } from '../lib/api.js';
import { confirm, dialogForm, sheet } from '../lib/dialog.js';
import { h, setHidden, setText } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { bytes, fromNow, seconds, time } from '../lib/format.js';
import { select, textInput } from '../lib/inputs.js';
import { announce, problemBody, showProblem } from '../lib/notify.js';
import { every, redraw, reloader } from '../lib/reload.js';

const TIMES = [
    ['900', '15 minutes'],
    ['3600', 'one hour'],
    ['28800', '8 hours'],
    ['86400', 'one day'],
];
const ENDINGS = {
    released: 'given back',
    expired: 'its time was up',
    idle: 'nobody used it',
    'vm-deleted': 'its machine was deleted',
    'not-served': 'nothing came free in time',
    'pool-deleted': 'its pool was deleted',
};

export async function leasesPage({ herd, session, signal }) {
    const mayLease = session.can('lease:write');
    const list = h('ul', { class: 'cards' });
    const blank = h(
        'div',
        { class: 'blank', hidden: true },
        h('h2', null, 'Nobody holds a machine'),
        h('p', null, 'A lease is a machine with an end: it is deleted when its time is up.'),
        h('a', { class: 'button', href: '#/pools' }, 'Pools to ask from'),
    );
    const trouble = h('div', { role: 'alert' });
    const ended = h('input', { type: 'checkbox', onchange: () => load() });
    const clocks = new Map(); /* element -> when */

    const load = reloader(
        async () => {
            const paths = ended.checked
                ? ['/v1/leases?limit=200']
                : ['/v1/leases?state=active&limit=200', '/v1/leases?state=queued&limit=200'];
            const lists = await Promise.all(paths.map((path) => listAll(path, { signal })));
            const leases = lists.flat();
            clocks.clear();
            redraw(list, leases.map(card));
            setHidden(blank, leases.length > 0);
            tick();
        },
        { trouble, signal },
    );

    function tick() {
        for (const [element, { when, words }] of clocks) {
            setText(element, `${words} ${fromNow(when)}`);
        }
    }

    function until(lease) {
        const element = h('p', { class: 'until', title: time(lease.expires_at) });
        if (lease.state === 'ended') {
            setText(
                element,
                `Ended ${time(lease.ended_at)}: ${ENDINGS[lease.end_reason] ?? lease.end_reason}`,
            );
        } else {
            const words = lease.state === 'queued' ? 'Waits, and gives up' : 'Ends';
            clocks.set(element, { when: lease.expires_at, words });
        }
        return element;
    }

    function card(lease) {
        const name = lease.vm?.name ?? `lease ${lease.id.slice(0, 8)}`;
        const open = lease.state !== 'ended';
        const button = (words, action, danger) =>
            h(
                'button',
                {
                    type: 'button',
                    class: danger ? 'button small danger' : 'button small',
                    'aria-label': `${words} ${name}`,
                    onclick: () => action(lease, name),
                },
                words,
            );
        return h(
            'li',
            { class: 'panel card', 'data-lease': lease.id },
            h(
                'div',
                { class: 'vm-title' },
                open && lease.vm
                    ? h('a', { href: `#/vms/${encodeURIComponent(lease.vm.name)}` }, name)
                    : h('strong', null, name),
                h('span', { class: 'tag', 'data-state': lease.state }, lease.state),
            ),
            h('p', null, 'Held by ', h('strong', null, lease.holder)),
            until(lease),
            h(
                'p',
                { class: 'help' },
                [
                    lease.pool ? `from the pool ${lease.pool}` : 'from a definition of its own',
                    lease.claimed_at && (lease.warm ? 'it waited ready' : 'it had to boot'),
                    lease.queue_position && `number ${lease.queue_position} in the queue`,
                    lease.claimed_at && `then: ${lease.on_expiry}`,
                ]
                    .filter(Boolean)
                    .join(' · '),
            ),
            h(
                'div',
                { class: 'button-row' },
                mayLease && lease.state === 'active' && button('Renew', renew),
                mayLease && open && button('Give back', release, true),
                button('Record', showRecord),
            ),
        );
    }

    async function renew(lease, name) {
        const life = field({ label: 'From now', control: select(TIMES, '3600') });
        const yes = await dialogForm({
            title: `Renew ${name}`,
            body: h('p', null, `Never beyond ${time(lease.limit_at)}.`),
            fields: [life],
            action: 'Renew',
        });
        if (!yes) {
            return;
        }
        try {
            const now = await request('PATCH', `/v1/leases/${encodeURIComponent(lease.id)}`, {
                body: { ttl_seconds: Number(life.control.value) },
            });
            announce(`${name} ends ${fromNow(now.expires_at)}`);
        } catch (problem) {
            showProblem(`Renewing ${name} did not work`, problem);
        }
        await load();
    }

    async function release(lease, name) {
        const yes = await confirm({
            title: `Give ${name} back?`,
            action: 'Give back',
            danger: true,
            body: 'The machine is deleted with everything on its disks. What happened stays in the record.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/leases/${encodeURIComponent(lease.id)}`);
            announce(`${name} was given back`);
        } catch (problem) {
            showProblem(`Giving ${name} back did not work`, problem);
        }
        await load();
    }

    herd.follows((event) => event.subject?.kind === 'lease', load, signal);
    every(1000, tick, signal);
    await load();
    return {
        title: 'Leases',
        root: h(
            'div',
            null,
            h(
                'div',
                { class: 'page-head' },
                h('h1', null, 'Leases'),
                field({ label: 'Ended ones, too', control: ended }).root,
            ),
            trouble,
            finder(list, 'leases'),
            list,
            blank,
            mayLease && (await askForm({ load, signal })),
        ),
    };
}

async function showRecord(lease, name) {
    const body = h('div', null, h('p', null, 'Loading …'));
    sheet({ title: `What happened to ${name}`, body, closed: () => {} });
    try {
        const record = await get(`/v1/leases/${encodeURIComponent(lease.id)}/record`);
        const { usage = {} } = record;
        body.replaceChildren(
            h(
                'ol',
                { class: 'timeline' },
                record.timeline.map((step) =>
                    h(
                        'li',
                        { 'data-reached': 'yes' },
                        h('span', { class: 'step' }, step.what),
                        h('time', { datetime: step.at }, time(step.at)),
                    ),
                ),
            ),
            h(
                'p',
                { class: 'help' },
                `CPU ${seconds(usage.cpu_seconds)} · peak memory ${bytes(usage.peak_resident_bytes)} · merged ${bytes(usage.merging_bytes)}`,
            ),
        );
        if (record.console_log) {
            body.append(h('p', null, h('a', { href: record.console_log }, 'Its console’s log')));
        }
    } catch (problem) {
        body.replaceChildren(h('div', { class: 'notice notice-bad' }, problemBody(problem)));
    }
}

async function askForm({ load, signal }) {
    const pools = await listAll('/v1/pools', { signal });
    if (!pools.length) {
        return null;
    }
    const fields = [
        field({
            label: 'Pool',
            pointer: '/pool',
            control: select(pools.map((pool) => [pool.name, pool.name])),
        }),
        field({ label: 'For', pointer: '/ttl_seconds', control: select(TIMES, '3600') }),
        field({ label: 'Held by', pointer: '/holder', control: textInput({ maxlength: 128 }) }),
    ];
    const [pool, life, holder] = fields.map((f) => f.control);
    const trouble = h('div', { role: 'alert' });

    async function ask(event) {
        event.preventDefault();
        clearMarks(fields, trouble);
        try {
            const wish = { pool: pool.value, ttl_seconds: Number(life.value) };
            if (holder.value.trim()) {
                wish.holder = holder.value.trim();
            }
            const lease = await post('/v1/leases', wish);
            announce(lease.vm ? `You have ${lease.vm.name}` : 'You are in the queue');
            await load();
        } catch (problem) {
            showFormProblem(fields, trouble, problem);
        }
    }

    return h(
        'form',
        { class: 'panel form', onsubmit: ask },
        h('h2', null, 'Ask for a machine'),
        h(
            'div',
            { class: 'form-grid' },
            fields.map((f) => f.root),
        ),
        trouble,
        h(
            'div',
            { class: 'form-end' },
            h('button', { type: 'submit', class: 'button primary' }, 'Ask'),
        ),
    );
}
