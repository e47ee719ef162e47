/* The audit log: who asked for what, from where, and how it ended; newest first. */
import { accessTabs } from '../lib/accesstabs.js';
import { get } from '../lib/api.js';
import { h, replace, setHidden } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { ABSENT, count, time } from '../lib/format.js';
import { reloader } from '../lib/reload.js';
import { scrollTable } from '../lib/table.js';

const PAGE = 100;
const TITLES = ['When', 'Who', 'From', 'Asked for', 'Answer', 'Of', 'Request'];

export async function auditPage({ session, signal }) {
    const body = h('tbody');
    const trouble = h('div', { role: 'alert' });
    const blank = h('p', { class: 'blank', hidden: true }, 'Nothing was asked for.');
    const failed = h('input', { type: 'checkbox', id: 'audit-failed', onchange: () => newest() });
    const older = h('button', { type: 'button', class: 'button', onclick: () => more() }, 'Older');
    let cursor = null;

    async function page(before) {
        const path = `/v1/audit?limit=${PAGE}&failed=${failed.checked}`;
        const { items, next_cursor } = await get(
            before ? `${path}&cursor=${encodeURIComponent(before)}` : path,
            { signal },
        );

        cursor = next_cursor;
        setHidden(older, !cursor);
        return items.map(row);
    }

    const newest = reloader(
        async () => {
            const rows = await page(null);
            replace(body, rows);
            setHidden(blank, rows.length > 0);
        },
        { trouble, signal },
    );
    const more = reloader(async () => body.append(...(await page(cursor))), { trouble, signal });

    await newest();
    return {
        title: 'Audit log',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Audit log')),
            accessTabs(session, '#/audit'),
            h(
                'p',
                { class: 'help' },
                'Every write, every stream that was opened, everything done inside machines, and every refusal. ',
                'What became of it is told under Activity, by the same request.',
            ),
            h(
                'div',
                { class: 'button-row tools' },
                h(
                    'span',
                    { class: 'field field-check' },
                    failed,
                    h('label', { for: failed.id }, 'Only what was refused or went wrong'),
                ),
                h(
                    'button',
                    { type: 'button', class: 'button small', onclick: () => newest() },
                    'Look again',
                ),
            ),
            trouble,
            h(
                'section',
                { class: 'panel audit' },
                finder(body, 'entries that were read'),
                scrollTable('Audit log', TITLES, body),
                blank,
                older,
            ),
        ),
    };
}

function row(entry) {
    const bad = entry.status >= 400;

    return h(
        'tr',
        { 'data-request': entry.request_id },
        h('th', { scope: 'row' }, time(entry.at)),
        h('td', null, entry.name || entry.principal || 'nobody we know'),
        h('td', null, entry.address || ABSENT),
        h('td', null, h('code', null, entry.operation)),
        h(
            'td',
            null,
            h(
                'span',
                { class: 'tag', 'data-state': bad ? 'failed' : 'succeeded' },
                count(entry.status),
            ),
            bad && entry.code && ` ${entry.code}`,
        ),
        h('td', { class: 'audit-of' }, Object.values(entry.params).join(', ') || ABSENT),
        h('td', null, h('code', null, entry.request_id)),
    );
}
