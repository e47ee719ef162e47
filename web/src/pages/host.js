/* The host, and what the daemon checked on it: each finding with its cause and its fix. */
import { get } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { copyButton } from '../lib/clipboard.js';

const RESULT_WORDS = { ok: 'fine', warning: 'look here', failed: 'does not work' };

export async function hostPage({ signal }) {
    const [host, checks] = await Promise.all([
        get('/v1/host', { signal }),
        get('/v1/host/checks', { signal }),
    ]);
    const items = checks.items;
    return {
        title: 'Host',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Host')),
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'Checks'),
                h('ul', { class: 'checks' }, items.map(checkRow)),
            ),
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'About this host'),
                h(
                    'dl',
                    { class: 'facts' },
                    flatten(host).map(([name, value]) =>
                        h('div', null, h('dt', null, name), h('dd', null, value)),
                    ),
                ),
            ),
        ),
    };
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
