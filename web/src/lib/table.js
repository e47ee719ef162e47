/* Tables that scroll within the page when they are wider than it, by keyboard, too. */
import { h } from './dom.js';

/* A title that is empty heads a column of buttons. */
export const titleRow = (titles) =>
    h(
        'thead',
        null,
        h(
            'tr',
            null,
            titles.map((t) => (t ? h('th', { scope: 'col' }, t) : h('td'))),
        ),
    );

export const scroll = (label, table) =>
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, table);

/* body: a tbody, of the caller's, who may fill it again. */
export const scrollTable = (label, titles, body) =>
    scroll(label, h('table', null, titleRow(titles), body));
