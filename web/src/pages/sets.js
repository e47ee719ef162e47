/* Sets: the same machines for many. The list with its form, and one set with its members. */
import { operationProblem } from '../lib/actions.js';
import { del, get, listAll, post, randomKey, request } from '../lib/api.js';
import { confirm, formSheet } from '../lib/dialog.js';
import { h, icon, setHidden, setText } from '../lib/dom.js';
import { field } from '../lib/forms.js';
import { finder } from '../lib/finder.js';
import { fromNow, plural, time } from '../lib/format.js';
import { imageOptions, select } from '../lib/inputs.js';
import { announce, showProblem } from '../lib/notify.js';
import { every, redraw, reloader } from '../lib/reload.js';
import { titleRow } from '../lib/table.js';
import { setForm } from './sets_form.js';

const WORDS_MS = 10000; /* how far away an end is, goes on without asking */
const VERBS = {
    start: { words: 'Start', when: (set) => set.vms.running < set.vms.total - set.vms.missing },
    stop: {
        words: 'Stop',
        when: (set) => set.vms.running + set.vms.starting + set.vms.paused > 0,
        lost: 'Like pulling all plugs: what the guests have not written to their disks is lost.',
    },
};
const PUT_BACK_LOST =
    'Every machine gets fresh disks from its image: everything on their disks is lost. Names and addresses stay.';

function setState(set) {
    return h('span', { class: 'tag', 'data-state': set.state }, set.state);
}

function facts(set) {
    return [
        plural(set.count, 'member'),
        plural(set.machines.length, 'machine') + ' each',
        `${set.vms.running} of ${set.vms.total} run`,
        set.vms.failed + set.vms.crashed > 0 && `${set.vms.failed + set.vms.crashed} failed`,
        set.vms.missing > 0 && `${set.vms.missing} missing`,
    ]
        .filter(Boolean)
        .join(' · ');
}

function ends(set) {
    return (
        set.expires_at &&
        h(
            'p',
            { class: 'help', title: time(set.expires_at) },
            `Ends ${fromNow(set.expires_at)}: ${set.on_expiry}`,
        )
    );
}

/* How far the operation at work is. */
function progress(set, cancel) {
    const at = set.progress;
    if (!at) {
        return null;
    }
    const failed = at.failed_vms ? `, ${at.failed_vms} failed` : '';
    return h(
        'div',
        { class: 'progress' },
        h('progress', {
            max: Math.max(at.total_vms, 1),
            value: at.done_vms,
            'aria-label': `${set.name} is ${set.state}`,
        }),
        h('span', { class: 'help' }, `${at.done_vms} of ${at.total_vms} machines${failed}`),
        set.state !== 'deleting' &&
            cancel &&
            h(
                'button',
                {
                    type: 'button',
                    class: 'button small',
                    'aria-label': `Cancel what is done with ${set.name}`,
                    onclick: () => cancel(set),
                },
                'Cancel',
            ),
    );
}

/* What can be asked of a set, on both pages. */
function actions({ herd, load }) {
    async function follow(set, words, ask) {
        try {
            const operation = await ask();
            announce(`${words} ${set.name}`);
            await load();
            const end = await herd.operation(operation);
            if (end.state === 'failed') {
                showProblem(`${words} ${set.name} did not work everywhere`, operationProblem(end));
            } else if (end.state === 'succeeded') {
                announce(`${words} ${set.name}: done`);
            }
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                showProblem(`${words} ${set.name} did not work`, problem);
            }
        }
        await load();
    }
    const path = (set) => `/v1/sets/${encodeURIComponent(set.id)}`;

    return {
        async act(set, verb) {
            const { words, lost } = VERBS[verb];
            if (
                lost &&
                !(await confirm({
                    title: `${words}: ${set.name}?`,
                    body: lost,
                    action: words,
                    danger: true,
                }))
            ) {
                return;
            }
            await follow(set, words, () => post(`${path(set)}/${verb}`));
        },
        async reimage(set) {
            const images = (await listAll('/v1/images').catch(() => [])).filter(
                (image) => image.state === 'ready' && image.kind !== 'iso',
            );
            const chosen = set.machines.map((machine) => [
                machine.name,
                field({
                    label: `Image of ${machine.name}`,
                    pointer: `/images/${machine.name}`,
                    control: select(
                        imageOptions(images)
                            .filter(([value]) => value && value !== machine.image)
                            .concat([['', `as before (${machine.image ?? 'none'})`]])
                            .reverse(),
                        '',
                    ),
                }),
            ]);
            const after = field({
                label: 'Afterwards',
                pointer: '/start',
                control: select(
                    [
                        ['', 'start those that were on'],
                        ['true', 'start all'],
                        ['false', 'start none'],
                    ],
                    '',
                ),
            });
            let operation = null;
            const sent = await formSheet({
                title: `Put back: ${set.name}?`,
                body: PUT_BACK_LOST,
                fields: [...chosen.map(([, f]) => f), after],
                action: 'Put back',
                danger: true,
                async send() {
                    const wish = {};
                    const other = chosen.filter(([, f]) => f.control.value);
                    if (other.length) {
                        wish.images = Object.fromEntries(
                            other.map(([machine, f]) => [machine, f.control.value]),
                        );
                    }
                    if (after.control.value) {
                        wish.start = after.control.value === 'true';
                    }
                    operation = await post(`${path(set)}/reimage`, wish);
                },
            });
            if (sent) {
                await follow(set, 'Put back', () => operation);
            }
        },
        async extend(set) {
            const hours = field({
                label: 'It ends in so many hours',
                pointer: '/ttl_seconds',
                help: 'From now. Empty: it does not end by itself.',
                control: h('input', {
                    type: 'number',
                    min: 0.1,
                    max: 8760,
                    step: 'any',
                    inputmode: 'decimal',
                    value: set.expires_at ? '24' : '',
                }),
            });
            let now = set;
            const sent = await formSheet({
                title: `When ${set.name} ends`,
                body: h(
                    'p',
                    null,
                    set.expires_at
                        ? `Now it ends ${fromNow(set.expires_at)}: ${set.on_expiry}.`
                        : 'Now it does not end by itself.',
                ),
                fields: [hours],
                action: 'Change',
                async send() {
                    const text = hours.control.value;
                    now = await request('PATCH', path(set), {
                        body: { ttl_seconds: text === '' ? null : Math.round(Number(text) * 3600) },
                    });
                },
            });
            if (sent) {
                announce(
                    now.expires_at
                        ? `${set.name} ends ${fromNow(now.expires_at)}`
                        : `${set.name} does not end by itself`,
                );
                await load();
            }
        },
        async remove(set) {
            const yes = await confirm({
                title: `Delete the set ${set.name}?`,
                action: 'Delete',
                danger: true,
                body: `${plural(set.vms.total, 'machine')} and everything on their disks are lost and cannot be brought back.`,
            });
            if (yes) {
                await follow(set, 'Delete', () => del(path(set)));
            }
        },
        async reset(set, member) {
            const yes = await confirm({
                title: `Reset member ${member}?`,
                action: 'Reset',
                danger: true,
                body: 'The member’s machines get fresh disks from their images: everything on their disks is lost. Names and addresses stay. Others are not touched.',
            });
            if (yes) {
                await follow(set, `Reset member ${member} of`, () =>
                    post(`${path(set)}/members/${member}/reset`),
                );
            }
        },
        async cancel(set) {
            try {
                await del(`/v1/operations/${encodeURIComponent(set.progress.operation_id)}`);
                announce(`${set.name} stays as far as it is`);
            } catch (problem) {
                showProblem('Cancelling did not work', problem);
            }
            await load();
        },
    };
}

function buttons(set, can) {
    const button = (words, run, danger) =>
        h(
            'button',
            {
                type: 'button',
                class: danger ? 'button small danger' : 'button small',
                'aria-label': `${words} ${set.name}`,
                onclick: run,
            },
            words,
        );
    return h(
        'div',
        { class: 'button-row' },
        set.state !== 'deleting' &&
            Object.entries(VERBS)
                .filter(([, { when }]) => when(set))
                .map(([verb, { words, lost }]) =>
                    button(words, () => can.act(set, verb), Boolean(lost)),
                ),
        set.state !== 'deleting' && [
            button('Put back', () => can.reimage(set), true),
            button('Extend', () => can.extend(set)),
        ],
        button('Delete', () => can.remove(set), true),
    );
}

export async function setsPage({ herd, session, signal }) {
    const mayWrite = session.can('vm:write');
    const list = h('ul', { class: 'cards' });
    const trouble = h('div', { role: 'alert' });
    const blank = h(
        'div',
        { class: 'blank', hidden: true },
        h('h2', null, 'No sets yet'),
        h('p', null, 'A set is the same machines for many people: for a course, say.'),
    );
    const load = reloader(
        async () => {
            sets = await listAll('/v1/sets', { signal });
            show();
        },
        { trouble, signal },
    );
    const can = actions({ herd, load });
    let sets = [];

    function show() {
        redraw(list, sets.map(card));
        setHidden(blank, sets.length > 0);
    }

    function card(set) {
        return h(
            'li',
            { class: 'panel card', 'data-set': set.name },
            h(
                'div',
                { class: 'vm-title' },
                h('a', { href: `#/sets/${encodeURIComponent(set.name)}` }, set.name),
                setState(set),
            ),
            h('p', null, facts(set)),
            set.state_reason && h('p', { class: 'problem-detail' }, set.state_reason),
            ends(set),
            progress(set, mayWrite && can.cancel),
            mayWrite && buttons(set, can),
        );
    }

    herd.follows((event) => ['set', 'vm'].includes(event.subject?.kind), load, signal);
    every(WORDS_MS, () => sets.some((set) => set.expires_at) && show(), signal);
    await load();
    return {
        title: 'Sets',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Sets')),
            trouble,
            finder(list, 'sets'),
            list,
            blank,
            mayWrite && (await setForm({ load, signal, key: randomKey })),
        ),
    };
}

export async function setPage({ herd, session, signal, params }) {
    const mayWrite = session.can('vm:write');
    const path = `/v1/sets/${encodeURIComponent(params[0])}`;
    const head = h('div', { class: 'panel' });
    const body = h('tbody');
    const trouble = h('div', { role: 'alert' });
    const heading = h('h1', null, params[0]);
    const load = reloader(
        async () => {
            const set = await get(path, { signal });
            setText(heading, set.name);
            redraw(head, [
                h('div', { class: 'vm-title' }, setState(set), h('span', null, facts(set))),
                set.state_reason && h('p', { class: 'problem-detail' }, set.state_reason),
                ends(set),
                progress(set, mayWrite && can.cancel),
                mayWrite && buttons(set, can),
            ]);
            redraw(
                body,
                set.members.map((member) => row(set, member)),
            );
        },
        { trouble, signal },
    );
    const can = actions({ herd, load });

    function machine(vm) {
        const address = vm.networks[0]?.address;
        return h(
            'li',
            null,
            vm.name
                ? h('a', { href: `#/vms/${encodeURIComponent(vm.name)}` }, vm.name)
                : h('span', null, vm.machine),
            ' ',
            h('span', { class: 'tag', 'data-state': vm.state }, vm.state),
            address && h('span', { class: 'help' }, ` ${address}`),
            ['failed', 'crashed'].includes(vm.state) &&
                h('p', { class: 'problem-detail' }, vm.state_reason),
        );
    }

    function row(set, { member, vms }) {
        return h(
            'tr',
            { 'data-member': member },
            h('th', { scope: 'row' }, member),
            h('td', null, h('ul', { class: 'machines' }, vms.map(machine))),
            mayWrite &&
                h(
                    'td',
                    null,
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small danger',
                            'aria-label': `Reset member ${member}`,
                            onclick: () => can.reset(set, member),
                        },
                        'Reset',
                    ),
                ),
        );
    }

    herd.follows((event) => ['set', 'vm'].includes(event.subject?.kind), load, signal);
    await load();
    return {
        title: params[0],
        root: h(
            'div',
            null,
            h('p', { class: 'crumb' }, h('a', { href: '#/sets' }, icon('back'), 'All sets')),
            h('div', { class: 'page-head' }, heading),
            trouble,
            head,
            h(
                'section',
                { class: 'panel' },
                h('h2', null, 'Members'),
                finder(body, 'members'),
                h(
                    'table',
                    null,
                    titleRow(['Member', 'Machines', ...(mayWrite ? ['Do'] : [])]),
                    body,
                ),
            ),
        ),
    };
}
