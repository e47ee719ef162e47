/* Webhooks: who else is told what happens, and how that goes. A secret that is drawn is shown once. */
import { accessTabs } from '../lib/accesstabs.js';
import { del, get, listAll, post, request } from '../lib/api.js';
import { confirm, dialogForm, formSheet } from '../lib/dialog.js';
import { h, replace, setHidden } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { ABSENT, count, fromNow, plural, span, time } from '../lib/format.js';
import { hostNow } from '../lib/health.js';
import { numberInput, textInput } from '../lib/inputs.js';
import { announce, problemBody, showProblem } from '../lib/notify.js';
import { every, redraw, reloader, soon } from '../lib/reload.js';
import { showSecret } from '../lib/secret.js';
import { scrollTable } from '../lib/table.js';

const DELIVERY_TITLES = ['Event', 'Number', 'When', 'Attempt', 'What came of it', 'Took'];

const SOON_MS = 2000;
const isOver = (at) => at && new Date(at).getTime() < hostNow();
const pathOf = (hook) => `/v1/webhooks/${encodeURIComponent(hook.id)}`;

export async function webhooksPage({ herd, session, signal }) {
    const list = h('ul', { class: 'cards cards-wide' });
    const trouble = h('div', { role: 'alert' });
    const secret = h('div', { role: 'status' });
    const blank = h(
        'div',
        { class: 'blank', hidden: true },
        h('h2', null, 'No webhooks yet'),
        h('p', null, 'A webhook sends every event you choose to an address of yours, in order.'),
    );
    const open = new Map(); /* whose deliveries are looked at, and what was seen last */
    let hooks = [];
    const load = reloader(
        async () => {
            hooks = await listAll('/v1/webhooks', { signal });
            redraw(list, hooks.map(card));
            setHidden(blank, hooks.length > 0);
        },
        { trouble, signal },
    );

    function facts({ delivery }) {
        return [
            ['Delivered up to event', count(delivery.last_seq)],
            ['Last success', delivery.last_success_at ? time(delivery.last_success_at) : ABSENT],
            ['Last answer', delivery.last_status ?? ABSENT],
        ];
    }

    function card(hook) {
        const { delivery } = hook;
        const log = h('div', null, open.get(hook.id) && deliveries(open.get(hook.id)));

        return h(
            'li',
            { class: 'panel card', 'data-webhook': hook.id },
            h(
                'div',
                { class: 'vm-title' },
                h('strong', null, hook.url),
                h('span', { class: 'tag', 'data-state': hook.state }, hook.state),
            ),
            h('p', { class: 'help' }, `${hook.events.join(', ')} · since ${time(hook.created_at)}`),
            h(
                'dl',
                { class: 'facts' },
                facts(hook).map(([term, value]) =>
                    h('div', null, h('dt', null, term), h('dd', null, value)),
                ),
            ),
            hook.state === 'failing' &&
                h(
                    'p',
                    { class: 'problem-detail' },
                    `${plural(delivery.failures, 'failure')} in a row: ${delivery.last_error ?? 'no reason'}. `,
                    delivery.next_attempt_at && `Tried again ${fromNow(delivery.next_attempt_at)}.`,
                ),
            hook.disabled_reason && h('p', { class: 'problem-detail' }, hook.disabled_reason),
            h(
                'div',
                { class: 'button-row' },
                act('Send a ping', hook, () => ping(hook)),
                act(hook.enabled ? 'Disable' : 'Enable', hook, () => enable(hook)),
                act('Edit', hook, () => edit(hook)),
                act('Deliver again', hook, () => redeliver(hook)),
                act('Delete', hook, () => remove(hook), 'danger'),
            ),
            h(
                'details',
                {
                    class: 'fold',
                    open: open.has(hook.id),
                    ontoggle: (event) => toggle(event, hook, log),
                },
                h('summary', { 'aria-label': `Deliveries to ${hook.url}` }, 'Deliveries'),
                log,
            ),
        );
    }

    function toggle(event, hook, log) {
        if (!event.currentTarget.open) {
            open.delete(hook.id);
            return;
        }
        open.set(hook.id, open.get(hook.id) ?? null);
        showDeliveries(hook, log);
    }

    async function showDeliveries(hook, log) {
        try {
            const { items } = await get(`${pathOf(hook)}/deliveries?limit=20`, { signal });
            open.set(hook.id, items);
            replace(log, deliveries(items));
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                replace(log, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
            }
        }
    }

    /* Tells what went wrong, and shows what is so now in any case. */
    async function tried(words, doIt) {
        try {
            await doIt();
        } catch (problem) {
            showProblem(`${words} did not work`, problem);
        }
        await load();
    }

    const ping = (hook) =>
        tried('Sending a ping', async () => {
            const { delivered, status, error } = await post(`${pathOf(hook)}/test`);
            const answer = delivered ? `it answered ${status}` : error;

            replace(
                secret,
                h(
                    'div',
                    { class: `notice ${delivered ? 'notice-good' : 'notice-bad'}` },
                    h('p', null, `Ping to ${hook.url}: ${answer}`),
                ),
            );
        });

    const enable = (hook) =>
        tried('Changing it', () =>
            request('PATCH', pathOf(hook), { body: { enabled: !hook.enabled } }),
        );

    async function edit(hook) {
        const fields = hookFields(hook);
        const sent = await formSheet({
            title: 'Change this webhook',
            fields,
            action: 'Change',
            send: () => request('PATCH', pathOf(hook), { body: hookOf(fields) }),
        });
        if (sent) {
            announce('The webhook was changed');
            await load();
        }
    }

    async function redeliver(hook) {
        const from = field({
            label: 'From event number',
            help: 'That one and all that follow are sent again; the receiver knows them by webhook-id.',
            control: numberInput(Math.max(hook.delivery.last_seq, 1), 1),
        });
        const yes = await dialogForm({
            title: 'Deliver again',
            body: h('p', null, hook.url),
            fields: [from],
            action: 'Deliver',
        });
        if (yes) {
            await tried('Delivering again', () =>
                post(`${pathOf(hook)}/redeliver`, { from_seq: Number(from.control.value) }),
            );
        }
    }

    async function remove(hook) {
        const yes = await confirm({
            title: 'Delete this webhook?',
            action: 'Delete',
            danger: true,
            body: `${hook.url} is not told any more what happens, and its deliveries are forgotten.`,
        });
        if (yes) {
            await tried('Deleting it', () => del(pathOf(hook)));
            announce('The webhook was deleted');
        }
    }

    /*
     * What became of a delivery is no event; but each event is delivered, and of one that is tried again
     * it is known when.
     */
    const loadSoon = soon(load, SOON_MS, signal);
    herd.follows(() => true, loadSoon, signal);
    every(
        SOON_MS,
        () => hooks.some((hook) => isOver(hook.delivery.next_attempt_at)) && load(),
        signal,
    );
    await load();
    return {
        title: 'Webhooks',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Webhooks')),
            accessTabs(session, '#/webhooks'),
            secret,
            trouble,
            finder(list, 'webhooks'),
            list,
            blank,
            webhookForm({ load, secret }),
        ),
    };
}

function act(text, hook, onclick, extra = '') {
    return h(
        'button',
        {
            type: 'button',
            class: `button small ${extra}`,
            'aria-label': `${text}: ${hook.url}`,
            onclick,
        },
        text,
    );
}

function deliveries(items) {
    return items.length === 0
        ? h('p', { class: 'help' }, 'None yet.')
        : scrollTable('Deliveries', DELIVERY_TITLES, h('tbody', null, items.map(deliveryRow)));
}

function deliveryRow(d) {
    return h(
        'tr',
        null,
        h('th', { scope: 'row' }, d.type),
        h('td', null, count(d.seq)),
        h('td', null, time(d.at)),
        h('td', null, count(d.attempt)),
        h('td', { class: 'why' }, d.delivered ? `answered ${d.status}` : (d.error ?? ABSENT)),
        h('td', null, span(d.took_ms)),
    );
}

/* hook: what they begin with. */
function hookFields(hook) {
    const url = field({
        label: 'Address',
        pointer: '/url',
        help: 'Each event is sent there with POST, signed as standardwebhooks.com describes.',
        control: textInput({
            type: 'url',
            required: true,
            maxlength: 2048,
            value: hook?.url ?? '',
        }),
    });
    const events = field({
        label: 'Events',
        pointer: '/events',
        help: 'Types or patterns with commas, such as vm.state, lease.*; * is everything.',
        control: textInput({ value: hook?.events.join(', ') ?? '*', required: true }),
    });
    return [url, events];
}

const hookOf = ([url, events]) => ({
    url: url.control.value.trim(),
    events: events.control.value.split(/[\s,]+/).filter(Boolean),
});

function webhookForm({ load, secret }) {
    const trouble = h('div', { role: 'alert' });
    const all = hookFields();

    async function make(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        try {
            const made = await post('/v1/webhooks', hookOf(all));
            showSecret(
                secret,
                `The secret of ${made.url}, with which the receiver checks signatures`,
                made.secret,
                'the secret',
            );
            form.reset();
            await load();
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        }
    }

    const form = h(
        'form',
        { class: 'panel form', onsubmit: make },
        h('h2', null, 'New webhook'),
        h(
            'div',
            { class: 'form-grid' },
            all.map((f) => f.root),
        ),
        trouble,
        h(
            'div',
            { class: 'form-end' },
            h('button', { type: 'submit', class: 'button primary' }, 'Create webhook'),
        ),
    );
    return form;
}
