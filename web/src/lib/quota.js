/* What a project and a token may use at the same time, and do: a table, and fields to change it. */
import { h } from './dom.js';
import { field } from './forms.js';
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

const GIB = 2 ** 30;
/* [member, label, what one of the field's units is in the API's] */
const LIMITS = [
    ['vms', 'Machines', 1],
    ['cpus', 'Virtual CPUs', 1],
    ['memory_mib', 'Memory in MiB', 1],
    ['disk_bytes', 'Disks in GiB', GIB],
    ['leases', 'Leases', 1],
    ['consoles', 'Open consoles', 1],
];

export const limitFields = () =>
    LIMITS.map(([member, label, unit]) =>
        field({
            label,
            pointer: `/quota/${member}`,
            control: h('input', {
                type: 'number',
                min: 0,
                step: unit === 1 ? 1 : 'any',
                inputmode: 'numeric',
                placeholder: 'no limit',
            }),
        }),
    );

/* As the API takes them; an empty field is no limit. */
export const limitsOf = (fields) =>
    Object.fromEntries(
        LIMITS.map(([member, , unit], i) => {
            const text = fields[i].control.value.trim();
            return [member, text === '' ? null : Math.round(Number(text) * unit)];
        }),
    );

export function showLimits(fields, quota) {
    LIMITS.forEach(([member, , unit], i) => {
        const limit = quota[member];
        fields[i].control.value = limit === null ? '' : limit / unit;
    });
}

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
