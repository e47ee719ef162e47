/* Pools: how many machines wait, how claims went, and why one does not fill. */
import { del, listAll, request } from '../lib/api.js';
import { confirm } from '../lib/dialog.js';
import { h, replace, setHidden, setText } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { ABSENT, bytes, count, fromNow, mib, percent, time } from '../lib/format.js';
import { hostNow } from '../lib/health.js';
import { imageOptions, nameField, numberInput, select } from '../lib/inputs.js';
import { announce, showProblem } from '../lib/notify.js';
import { here } from '../lib/place.js';
import { every, redraw, reloader, soon } from '../lib/reload.js';

const DEPTHS = [
    ['booted', 'running, handed out at once'],
    ['snapshot', 'saved to disk, restored when asked for'],
    ['cold', 'none: a machine boots when asked for'],
];
const POINTS = [
    ['running', 'when it runs'],
    ['console', 'when its console has printed something'],
];
const SOON_MS = 200;
const WORDS_MS = 5000;
const isOver = (at) => at && new Date(at).getTime() < hostNow();
const ms = (value) => (typeof value === 'number' ? `${value.toFixed(1)} ms` : ABSENT);

/* Before merging, and what merging makes of it. */
function memory(m) {
    if (m.resident_bytes === null) {
        return `${bytes(m.promised_bytes)} promised`;
    }
    const now = `${bytes(m.resident_bytes)} of ${bytes(m.promised_bytes)} promised`;
    return m.saved_bytes ? `${now}, merged to ${bytes(m.own_bytes)}` : now;
}

export async function poolsPage({ herd, session, signal }) {
    const mayWrite = session.can('vm:write');
    const list = h('ul', { class: 'cards' });
    const blank = h(
        'div',
        { class: 'blank', hidden: true },
        h('h2', null, 'No pools yet'),
        h('p', null, 'A pool keeps machines ready, so that a lease gets one in milliseconds.'),
    );
    const trouble = h('div', { role: 'alert' });
    const images = (await listAll('/v1/images', { signal })).filter((i) => i.state === 'ready');
    const load = reloader(
        async () => {
            pools = await listAll('/v1/pools', { signal });
            show();
        },
        { trouble, signal },
    );
    const form = mayWrite && poolForm({ images, load });
    let pools = [];

    function show() {
        redraw(list, pools.map(card));
        setHidden(blank, pools.length > 0);
    }

    function card(pool) {
        const { status } = pool;
        const claims = status.hits + status.misses;
        const failing = status.failures > 0;
        const facts = [
            ['Ready', `${count(status.ready)} of ${count(pool.ready)}`],
            ['Getting ready', count(status.warming)],
            ['Handed out', `${count(status.leased)} of at most ${count(pool.max)}`],
            [
                'Claims that found one ready',
                claims ? percent((100 * status.hits) / claims) : ABSENT,
            ],
            [
                'Time of a claim',
                status.claim_ms_p50 === null
                    ? ABSENT
                    : `${ms(status.claim_ms_p50)}, at most ${ms(status.claim_ms_max)}`,
            ],
            ['Memory', memory(status.memory)],
            ['Kept', DEPTHS.find(([depth]) => depth === pool.depth)?.[1] ?? pool.depth],
        ];
        return h(
            'li',
            { class: 'panel card', 'data-pool': pool.name },
            h(
                'div',
                { class: 'vm-title' },
                h('strong', null, pool.name),
                h(
                    'span',
                    { class: 'tag', 'data-state': failing ? 'failing' : 'ok' },
                    failing ? 'failing' : 'ok',
                ),
            ),
            h(
                'p',
                { class: 'help' },
                `${pool.vm.image ?? 'no image'}, ${mib(pool.vm.memory_mib ?? 512)}, since ${time(pool.created_at)}`,
            ),
            h(
                'dl',
                { class: 'facts' },
                facts.map(([term, value]) =>
                    h('div', null, h('dt', null, term), h('dd', null, value)),
                ),
            ),
            failing &&
                h(
                    'p',
                    { class: 'problem-detail' },
                    `It does not fill: ${status.last_error ?? 'the reason is not known'}. `,
                    status.retry_at && `Tried again ${fromNow(status.retry_at)}.`,
                ),
            mayWrite &&
                h(
                    'div',
                    { class: 'button-row' },
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small',
                            'aria-label': `Edit ${pool.name}`,
                            onclick: () => form.edit(pool),
                        },
                        'Edit',
                    ),
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small danger',
                            'aria-label': `Delete ${pool.name}`,
                            onclick: () => remove(pool),
                        },
                        'Delete',
                    ),
                ),
        );
    }

    async function remove(pool) {
        const yes = await confirm({
            title: `Delete the pool ${pool.name}?`,
            action: 'Delete',
            danger: true,
            body: 'The machines that wait in it are deleted. Those handed out stay until their lease ends.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/pools/${encodeURIComponent(pool.id)}`);
            announce(`${pool.name} was deleted`);
        } catch (problem) {
            showProblem(`Deleting ${pool.name} did not work`, problem);
        }
        await load();
    }

    const loadSoon = soon(load, SOON_MS, signal);
    herd.follows(
        (event) => ['pool', 'lease', 'vm'].includes(event.subject?.kind),
        loadSoon,
        signal,
    );
    /* “in 12 seconds” goes on without asking; when that is over, there is something to ask. */
    every(
        WORDS_MS,
        () => {
            const due = pools.some((p) => p.status.failures > 0 && isOver(p.status.retry_at));
            return due ? load() : pools.some((p) => p.status.failures > 0) && show();
        },
        signal,
    );
    await load();
    return {
        title: 'Pools',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Pools')),
            trouble,
            finder(list, 'pools'),
            list,
            blank,
            form?.root,
        ),
    };
}

/* What the form does not show of a pool stays as it is. */
function poolForm({ images, load }) {
    const fields = {
        name: nameField({ pointer: 'pool' }),
        image: field({
            label: 'Image',
            pointer: '/vm/image',
            control: select(imageOptions(images), images[0]?.name ?? ''),
        }),
        memory: field({
            label: 'Memory in MiB',
            pointer: '/vm/memory_mib',
            control: numberInput(512, 16, 4194304),
        }),
        cpus: field({ label: 'CPUs', pointer: '/vm/cpus', control: numberInput(1, 1, 255) }),
        ready: field({
            label: 'Keep ready',
            pointer: '/ready',
            control: numberInput(1, 0, 1000),
        }),
        max: field({
            label: 'At most, handed out ones included',
            pointer: '/max',
            control: numberInput(10, 1, 10000),
        }),
        depth: field({ label: 'Keep them', pointer: '/depth', control: select(DEPTHS, 'booted') }),
        point: field({
            label: 'A machine is ready',
            pointer: '/ready_when',
            control: select(POINTS, 'running'),
        }),
        holder: field({
            label: 'At most for one holder (0: no limit)',
            pointer: '/per_holder',
            control: numberInput(0, 0, 10000),
        }),
    };
    const all = Object.values(fields);
    const trouble = h('div', { role: 'alert' });
    const heading = h('h2', null, 'New pool');
    const submit = h('button', { type: 'submit', class: 'button primary' }, 'Create');
    const cancel = h(
        'button',
        { type: 'button', class: 'button', hidden: true, onclick: () => fresh() },
        'Cancel',
    );
    const value = (name) => fields[name].control.value.trim();
    let edited = null;

    function fresh() {
        edited = null;
        form.reset();
        fields.name.control.readOnly = false;
        setText(heading, 'New pool');
        setText(submit, 'Create');
        setHidden(cancel, true);
        clearMarks(all, trouble);
    }

    function definition() {
        const kept = edited ?? {};
        const vm = { ...kept.vm, memory_mib: Number(value('memory')), cpus: Number(value('cpus')) };
        delete vm.image;
        if (value('image')) {
            vm.image = value('image');
        }
        const body = { vm };
        for (const member of ['boot_seconds', 'recycle_seconds', 'ttl_seconds', 'max_seconds']) {
            if (kept[member] !== undefined) {
                body[member] = kept[member];
            }
        }
        return {
            ...body,
            ready: Number(value('ready')),
            max: Number(value('max')),
            depth: value('depth'),
            ready_when: value('point'),
            per_holder: Number(value('holder')),
        };
    }

    /* It is not shown with the pool, and must not be lost by editing. */
    async function userData(pool) {
        const answer = await fetch(here(`/v1/pools/${encodeURIComponent(pool.id)}/user-data`), {
            credentials: 'same-origin',
        });
        return answer.ok ? answer.text() : null;
    }

    async function put(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        submit.disabled = true;
        try {
            const body = definition();
            if (edited?.has_user_data) {
                body.vm.user_data = await userData(edited);
            }
            const headers = edited ? { 'If-Match': `"${edited.etag}"` } : {};
            await request('PUT', `/v1/pools/${encodeURIComponent(value('name'))}`, {
                body,
                headers,
            });
            announce(`The pool ${value('name')} was ${edited ? 'changed' : 'made'}`);
            fresh();
            await load();
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        } finally {
            submit.disabled = false;
        }
    }

    function edit(pool) {
        edited = pool;
        const image = fields.image.control;
        const current = pool.vm.image ?? '';
        if (![...image.options].some((option) => option.value === current)) {
            image.append(h('option', { value: current }, current));
        }
        fields.name.control.value = pool.name;
        fields.name.control.readOnly = true;
        image.value = current;
        fields.memory.control.value = pool.vm.memory_mib ?? 512;
        fields.cpus.control.value = pool.vm.cpus ?? 1;
        fields.ready.control.value = pool.ready;
        fields.max.control.value = pool.max;
        fields.depth.control.value = pool.depth;
        fields.point.control.value = pool.ready_when;
        fields.holder.control.value = pool.per_holder;
        setText(heading, `Change ${pool.name}`);
        setText(submit, 'Change');
        setHidden(cancel, false);
        fields.ready.control.focus();
    }

    const form = h(
        'form',
        { class: 'panel form', onsubmit: put },
        heading,
        h(
            'div',
            { class: 'form-grid' },
            all.map((f) => f.root),
        ),
        trouble,
        h('div', { class: 'form-end' }, cancel, submit),
    );
    replace(trouble);
    return { root: form, edit };
}
