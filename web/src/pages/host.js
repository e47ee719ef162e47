/* The host, and what the daemon checked on it: each finding with its cause and its fix. */
import { get } from '../lib/api.js';
import { copyButton } from '../lib/clipboard.js';
import { h, setText } from '../lib/dom.js';
import { plural } from '../lib/format.js';
import { redraw, reloader } from '../lib/reload.js';
import { guestsSection } from './host_guests.js';

const RESULT_WORDS = { ok: 'fine', warning: 'look here', failed: 'does not work' };

const GROUPS = {
    acceleration: 'Acceleration',
    memory: 'Memory',
    hugepages: 'Huge pages',
    disk: 'Disk of the state directory',
    vsock: 'vsock',
    ksm: 'Memory merging (KSM)',
    libvirt: 'libvirt and QEMU',
    vms: 'Machines',
};
const WORST_FIRST = ['failed', 'warning', 'ok'];

export async function hostPage({ herd, session, signal }) {
    const host = await get('/v1/host', { signal });
    const list = h('ul', { class: 'checks' });
    const sum = h('p', { class: 'help', role: 'status' });
    const trouble = h('div', { role: 'alert' });
    const again = h(
        'button',
        { type: 'button', class: 'button small', onclick: () => load() },
        'Check again',
    );
    const check = reloader(
        async () => {
            const { items } = await get('/v1/host/checks', { signal });
            const rank = (c) => WORST_FIRST.indexOf(c.result);
            const worst = items.filter((c) => c.result !== 'ok').length;
            setText(
                sum,
                worst
                    ? `${plural(worst, 'finding')} to look at, ${items.length - worst} fine.`
                    : `All ${items.length} are fine.`,
            );
            redraw(list, [...items].sort((a, b) => rank(a) - rank(b)).map(checkRow));
        },
        { trouble, signal },
    );

    async function load() {
        again.disabled = true;
        await check();
        again.disabled = false;
    }

    const [guests] = await Promise.all([
        session.can('host:write') && guestsSection({ herd, signal }),
        load(),
    ]);
    return {
        title: 'Host',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Host')),
            h(
                'section',
                { class: 'panel' },
                h('div', { class: 'panel-head' }, h('h2', null, 'Checks'), again),
                trouble,
                sum,
                list,
            ),
            guests,
            h(
                'div',
                { class: 'masonry' },
                groups(host).map(([title, facts]) =>
                    h(
                        'section',
                        { class: 'panel' },
                        h('h2', null, title),
                        h(
                            'dl',
                            { class: 'facts' },
                            facts.map(([name, value]) =>
                                h('div', null, h('dt', null, name), h('dd', null, fact(value))),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    };
}

/* Plain members first, then each nested object under its own heading. */
function groups(host) {
    const nested = Object.entries(host).filter(([, v]) => v && typeof v === 'object');
    const plain = Object.fromEntries(Object.entries(host).filter(([, v]) => typeof v !== 'object'));
    return [
        ['This host', flatten(plain)],
        ...nested.map(([key, value]) => [GROUPS[key] ?? key, flatten(value)]),
    ].filter(([, facts]) => facts.length > 0);
}

/* A long list is one line until somebody wants it. */
function fact(value) {
    return value.length > 200
        ? h('details', { class: 'scopes' }, h('summary', null, `${value.slice(0, 40)} …`), value)
        : value;
}

function checkRow(check) {
    const result = check.result;
    const fix = check.fix && h('code', null, check.fix);
    return h(
        'li',
        { 'data-result': result },
        h(
            'p',
            null,
            h('span', { class: 'tag', 'data-state': result }, RESULT_WORDS[result] ?? result),
            h('strong', null, check.title ?? check.id),
        ),
        check.detail && h('p', null, check.detail),
        check.cause && h('p', { class: 'help' }, check.cause),
        fix &&
            h(
                'div',
                { class: 'fix' },
                h('span', null, 'Fix: '),
                fix,
                copyButton(fix, `the fix for ${check.title ?? check.id}`),
            ),
    );
}

/* Nested members as "outer inner", with units made readable. */
function flatten(value, prefix = '') {
    return Object.entries(value).flatMap(([key, inner]) => {
        const name = [prefix, key.replaceAll('_', ' ')].filter(Boolean).join(' ');
        if (inner === null || inner === '') {
            return [];
        }
        if (typeof inner === 'object' && !Array.isArray(inner)) {
            return flatten(inner, name);
        }
        return [[name.replace(/ bytes$/, ''), readable(key, inner)]];
    });
}

function readable(key, value) {
    if (typeof value === 'number' && key.endsWith('_bytes')) {
        const gib = value / 1024 ** 3;
        return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${(value / 1024 ** 2).toFixed(0)} MiB`;
    }
    if (typeof value === 'boolean') {
        return value ? 'yes' : 'no';
    }
    return Array.isArray(value) ? value.join(', ') : String(value);
}
