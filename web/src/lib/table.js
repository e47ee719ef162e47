/* Tables that scroll within the page when they are wider than it, by keyboard, too. */
import { h, setText } from './dom.js';

/* A title that is empty heads a column of buttons; [title] one of figures. */
export const titleRow = (titles) => h('thead', null, h('tr', null, titles.map(title)));

function title(given) {
    const figures = Array.isArray(given);
    const text = figures ? given[0] : given;
    return text ? h('th', { scope: 'col', class: figures && 'number' }, text) : h('td');
}

export const scroll = (label, table) =>
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, table);

/* body: a tbody, of the caller's, who may fill it again. */
export const scrollTable = (label, titles, body) =>
    scroll(label, h('table', null, titleRow(titles), body));

/*
 * A head whose titles put the rows in an order. columns: [title, of(row), isFigure]; of() answers what is
 * compared: numbers as numbers, words as words; what is not known comes last. onOrder() is told.
 */
export function sorting(columns, chosen, onOrder) {
    let at = chosen;
    let down = Boolean(columns[chosen][2]);
    const marks = columns.map(() => h('span', { 'aria-hidden': 'true' }));
    const heads = columns.map(([text, of, isFigure], index) =>
        of
            ? h(
                  'th',
                  { scope: 'col', class: isFigure && 'number' },
                  h(
                      'button',
                      { type: 'button', class: 'sort', onclick: () => choose(index) },
                      text,
                      marks[index],
                  ),
              )
            : h('th', { scope: 'col' }, text),
    );

    function choose(index) {
        down = index === at ? !down : Boolean(columns[index][2]);
        at = index;
        show();
        onOrder();
    }

    function show() {
        heads.forEach((head, index) => {
            if (index === at) {
                head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
            } else {
                head.removeAttribute('aria-sort');
            }
            setText(marks[index], index === at ? (down ? ' ↓' : ' ↑') : '');
        });
    }

    show();
    return {
        root: h('thead', null, h('tr', null, heads)),
        order: (rows) => [...rows].sort((a, b) => compare(columns[at][1](a), columns[at][1](b), down)),
    };
}

export function compare(a, b, down) {
    const [noA, noB] = [a, b].map((value) => value === undefined || value === null);
    if (noA || noB) {
        return Number(noA) - Number(noB);
    }
    const ascending = typeof a === 'number' ? a - b : String(a) < String(b) ? -1 : Number(a !== b);
    return down ? -ascending : ascending;
}
