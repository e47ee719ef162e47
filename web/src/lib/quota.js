/* What a project and a token may use at the same time, and do: a table. */
import { h } from './dom.js';
import { bytes, count, mib } from './format.js';
import { titleRow } from './table.js';

export const RESOURCES = [
    ['vms', 'Machines', count],
    ['cpus', 'Virtual CPUs', count],
    ['memory_mib', 'Memory', mib],
    ['disk_bytes', 'Disks', bytes],
    ['leases', 'Leases', count],
    ['consoles', 'Open consoles', count],
];

function cells(owner, name, show) {
    const limit = owner.quota[name];

    return [
        h('td', null, show(owner.usage[name])),
        h('td', null, limit === null ? 'no limit' : show(limit)),
    ];
}

/* quotas: the answer of GET /v1/quotas. */
export function quotaTable(quotas) {
    const owners = [quotas.project, quotas.token].filter(Boolean);
    const titles = [`Project ${quotas.project.name}`];
    if (quotas.token) {
        titles.push(`Your token ${quotas.token.name}`);
    }

    return h(
        'table',
        null,
        titleRow(['Resource', ...titles.flatMap((title) => [`${title}: used`, 'may use'])]),
        h(
            'tbody',
            null,
            RESOURCES.map(([name, label, show]) =>
                h(
                    'tr',
                    null,
                    h('th', { scope: 'row' }, label),
                    owners.flatMap((owner) => cells(owner, name, show)),
                ),
            ),
        ),
    );
}
