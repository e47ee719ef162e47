/* Tokens: who else may use the API. A secret is shown once and kept nowhere. */
import { accessTabs } from '../lib/accesstabs.js';
import { del, get, listAll, post, request } from '../lib/api.js';
import { confirm, formSheet } from '../lib/dialog.js';
import { h, replace } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { time } from '../lib/format.js';
import { announce, showProblem } from '../lib/notify.js';
import { limitFields, limitsOf, quotaTable, showLimits } from '../lib/quota.js';
import { showSecret } from '../lib/secret.js';
import { scroll, scrollTable } from '../lib/table.js';

const TITLES = ['Name', 'Role', 'May', 'Expires', 'Last used', ''];
const ROLES = ['viewer', 'operator', 'admin'];
const LIFETIMES = [
    ['86400', 'one day'],
    ['2592000', '30 days'],
    ['31536000', 'one year'],
    ['', 'never expires'],
];

/* In words; one that is not here is shown by its name. */
const SCOPES = {
    'vm:read': 'see machines, sets, pools, leases and events',
    'vm:write': 'create, start, stop, change and delete machines',
    'vm:exec': 'run programs and move files inside machines',
    'console:view': 'watch consoles and displays',
    'console:control': 'type into consoles',
    'lease:write': 'claim, renew and release leases',
    'image:read': 'see images and the catalogue',
    'image:write': 'upload, fetch and delete images',
    'host:read': 'see the host and its memory',
    'host:write': 'change KSM and quotas',
    'ksm:read': 'see KSM figures of machines',
    'metrics:read': 'read the metrics',
    'token:write': 'make and revoke tokens',
    'webhook:write': 'make and change webhooks',
};

export async function tokensPage({ session, signal }) {
    const body = h('tbody');
    const secret = h('div', { role: 'status' });
    const trouble = h('div', { role: 'alert' });
    const fields = [
        field({
            label: 'Name',
            pointer: '/name',
            control: h('input', { type: 'text', required: true, autocomplete: 'off' }),
        }),
        field({
            label: 'Role',
            pointer: '/role',
            control: h(
                'select',
                null,
                ROLES.map((role) => h('option', { value: role }, role)),
            ),
        }),
        field({
            label: 'Expires',
            pointer: '/expires_in_seconds',
            control: h(
                'select',
                null,
                LIFETIMES.map(([v, t]) => h('option', { value: v, selected: v === '2592000' }, t)),
            ),
        }),
    ];
    const [name, role, life] = fields.map((f) => f.control);
    const scopes = scopePicker(session.scopes);
    const limits = limitFields();
    fields.push(scopes.field, ...limits);

    async function load() {
        const tokens = await listAll('/v1/tokens', { signal });
        replace(
            body,
            tokens.map((token) =>
                h(
                    'tr',
                    { 'data-token': token.id },
                    h('th', { scope: 'row' }, token.name),
                    h('td', null, token.role),
                    h('td', { class: 'why' }, scopeWords(token)),
                    h('td', null, expiry(token)),
                    h('td', null, token.last_used_at ? time(token.last_used_at) : 'not yet'),
                    h(
                        'td',
                        null,
                        h(
                            'div',
                            { class: 'button-row' },
                            h(
                                'button',
                                {
                                    type: 'button',
                                    class: 'button small',
                                    'aria-label': `Limits of ${token.name}`,
                                    onclick: () => limit(token),
                                },
                                'Limits',
                            ),
                            h(
                                'button',
                                {
                                    type: 'button',
                                    class: 'button small danger',
                                    'aria-label': `Revoke ${token.name}`,
                                    onclick: () => revoke(token),
                                },
                                'Revoke',
                            ),
                        ),
                    ),
                ),
            ),
        );
    }

    /* Role and scopes of a token stay what they are: its quota is all of it that changes. */
    async function limit(token) {
        const changed = limitFields();
        showLimits(changed, token.quota);
        const sent = await formSheet({
            title: `What ${token.name} may use`,
            body: h(
                'p',
                { class: 'help' },
                'Empty: no limit but that of its project. What it uses already stays.',
            ),
            fields: changed,
            wide: true,
            action: 'Change',
            async send() {
                await request('PATCH', `/v1/tokens/${encodeURIComponent(token.id)}`, {
                    body: { quota: limitsOf(changed) },
                });
            },
        });
        if (sent) {
            announce(`${token.name} has other limits now`);
            await load();
        }
    }

    async function revoke(token) {
        const yes = await confirm({
            title: `Revoke ${token.name}?`,
            action: 'Revoke',
            danger: true,
            body: [
                h(
                    'p',
                    null,
                    'Whoever uses this token is shut out at once, and it cannot be brought back.',
                ),
                session.id === `token:${token.id}` &&
                    h(
                        'p',
                        null,
                        h('strong', null, 'You are signed in with it: you are signed out, too.'),
                    ),
            ],
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/tokens/${encodeURIComponent(token.id)}`);
            announce(`${token.name} was revoked`);
            await load();
        } catch (problem) {
            showProblem(`Revoking ${token.name} did not work`, problem);
        }
    }

    async function create(event) {
        event.preventDefault();
        clearMarks(fields, trouble);
        try {
            const wish = { name: name.value.trim(), role: role.value };
            if (scopes.chosen().length) {
                wish.scopes = scopes.chosen();
            }
            if (life.value) {
                wish.expires_in_seconds = Number(life.value);
            }
            const quota = Object.entries(limitsOf(limits)).filter(([, most]) => most !== null);
            if (quota.length) {
                wish.quota = Object.fromEntries(quota);
            }
            const made = await post('/v1/tokens', wish);
            showSecret(secret, `Token ${made.name}`, made.token, 'the token');
            name.value = '';
            scopes.clear();
            limits.forEach((f) => (f.control.value = ''));
            await load();
        } catch (problem) {
            showFormProblem(fields, trouble, problem);
        }
    }

    const [quotas] = await Promise.all([get('/v1/quotas', { signal }), load()]);
    return {
        title: 'Access',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Access')),
            accessTabs(session, '#/tokens'),
            secret,
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'Tokens'),
                finder(body, 'tokens'),
                scrollTable('Tokens', TITLES, body),
            ),
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'Quotas'),
                scroll('Quotas', quotaTable(quotas)),
            ),
            h(
                'form',
                { class: 'panel form', onsubmit: create },
                h('h2', null, 'New token'),
                h(
                    'div',
                    { class: 'form-grid' },
                    [name, role, life].map(
                        (control) => fields.find((f) => f.control === control).root,
                    ),
                ),
                scopes.field.root,
                h(
                    'details',
                    { class: 'fold' },
                    h('summary', null, 'Limits of its own'),
                    h(
                        'div',
                        { class: 'form-grid' },
                        limits.map((f) => f.root),
                    ),
                ),
                trouble,
                h(
                    'div',
                    { class: 'form-end' },
                    h('button', { type: 'submit', class: 'button primary' }, 'Create token'),
                ),
            ),
        ),
    };
}

function expiry(token) {
    if (!token.expires_at) {
        return 'never';
    }
    const over = new Date(token.expires_at) < new Date();
    return over ? h('span', { class: 'tag' }, 'expired') : time(token.expires_at);
}

/* All that its role may, or what was chosen of it. */
function scopeWords(token) {
    const words = token.scopes.join(', ');
    return words.length > 60
        ? h(
              'details',
              { class: 'scopes' },
              h('summary', null, `${token.scopes.length} scopes`),
              words,
          )
        : words;
}

/* Nobody can give away more than they have; what the role does not hold is refused with its name. */
function scopePicker(mine) {
    const boxes = mine.map((scope) => [
        scope,
        h('input', { type: 'checkbox', id: `scope-${scope.replace(':', '-')}` }),
    ]);
    const error = h('p', { class: 'field-error', role: 'alert', hidden: true });
    const root = h(
        'details',
        { class: 'fold' },
        h('summary', null, 'Only some of what the role may'),
        h(
            'fieldset',
            { class: 'scope-grid' },
            h('legend', { class: 'help' }, 'None chosen means all of the role.'),
            boxes.map(([scope, box]) =>
                h(
                    'span',
                    { class: 'field field-check' },
                    box,
                    h(
                        'label',
                        { for: box.id },
                        h('code', null, scope),
                        ' ',
                        h('span', { class: 'help' }, SCOPES[scope] ?? ''),
                    ),
                ),
            ),
        ),
        error,
    );
    return {
        field: {
            root,
            control: boxes[0]?.[1] ?? root,
            pointer: '/scopes',
            mark(text) {
                error.textContent = text;
                error.hidden = !text;
            },
        },
        chosen: () => boxes.filter(([, box]) => box.checked).map(([scope]) => scope),
        clear: () => boxes.forEach(([, box]) => (box.checked = false)),
    };
}
