/* Tokens, projects, webhooks and the audit log: pages of one section, each for who may. */
import { h } from './dom.js';

const TABS = [
    ['#/tokens', 'Tokens', 'token:write'],
    ['#/projects', 'Projects', 'project:write'],
    ['#/webhooks', 'Webhooks', 'webhook:write'],
    ['#/audit', 'Audit log', 'token:write'],
];

const mine = (session) => TABS.filter(([, , scope]) => session.can(scope));

/* Where the section begins; null: it has nothing for this reader. */
export const accessStart = (session) => mine(session)[0]?.[0] ?? null;
export const isAccess = (section) => TABS.some(([href]) => href === section);

export function accessTabs(session, current) {
    const tabs = mine(session);

    return (
        tabs.length > 1 &&
        h(
            'nav',
            { class: 'tabs', 'aria-label': 'Access' },
            tabs.map(([href, text]) =>
                h('a', { href, 'aria-current': href === current && 'page' }, text),
            ),
        )
    );
}
