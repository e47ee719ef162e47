/* One VM: state and why, acceleration, actions, console, figures, events, definition. */
import { get } from '../lib/api.js';
import { actorNames } from '../lib/actors.js';
import { streamArea } from '../lib/area.js';
import { staleMark } from '../lib/density.js';
import { definitionPanel } from '../lib/definition.js';
import { dirtyRate } from '../lib/dirtyrate.js';
import { eventWords } from '../lib/eventwords.js';
import { pastPanel } from '../lib/past.js';
import { recordingList } from '../lib/recordings.js';
import { streamOf, streamsOf } from '../lib/streams.js';
import { timelinePanel } from '../lib/timeline.js';
import { h, icon, replace, setHidden, setText } from '../lib/dom.js';
import { announce } from '../lib/notify.js';
import { ABSENT, bytes, clock, count, mib, percent, seconds, time } from '../lib/format.js';
import { reloader } from '../lib/reload.js';
import { Spark } from '../lib/spark.js';
import { Acceleration, Buttons, StateTag } from '../lib/vmview.js';

const EVENTS_SHOWN = 12;

export async function vmPage({ herd, desk, recorder, session, signal, params: [ref, view] }) {
    let vm = herd.byName(ref) ?? (await get(`/v1/vms/${encodeURIComponent(ref)}`, { signal }));
    herd.put(vm);
    const { id } = vm;
    const tag = new StateTag();
    const badge = new Acceleration();
    const buttons = new Buttons(
        herd,
        session,
        () => vm,
        (verb, done) => {
            if (verb === 'delete' && done && !signal.aborted) {
                location.hash = '#/';
            }
        },
    );
    const reason = h('p', { class: 'vm-reason' });
    const why = h('p', { class: 'vm-reason vm-why' });
    const pending = h(
        'p',
        { class: 'notice' },
        'The definition has changed since this machine started. Shut it down and start it to apply the change.',
    );
    const area = streamArea({ vm, herd, desk, session, signal });
    const rate = dirtyRate({ vm, session, signal });
    const figures = figuresPanel(herd, () => vm, signal);
    figures.root.append(rate.root);
    const past = historyPanel(id, () => vm, herd, signal);
    const events = eventsPanel(herd, session, id, signal);
    const timeline = timelinePanel({ herd, id, signal });
    const recordings = session.can('console:view') && recordingsPanel();
    const inside = h('div');
    if (vm.guest_agent) {
        import('../lib/inner.js').then(({ guestPanel }) => {
            if (!signal.aborted) {
                inside.append(guestPanel({ vm, herd, session, signal }));
            }
        });
    }
    const disk = h('div');
    let diskPanel = null;
    if (vm.image) {
        import('../lib/inner.js').then((lib) => {
            if (!signal.aborted) {
                diskPanel = lib.diskPanel({ vm, session, signal });
                disk.append(diskPanel.root);
            }
        });
    }
    const definition = definitionPanel({ vm, herd, session, signal });
    const facts = h('dl', { class: 'facts' });
    const root = h(
        'div',
        null,
        h('p', { class: 'crumb' }, h('a', { href: '#/' }, icon('back'), 'Machines')),
        h(
            'div',
            { class: 'page-head' },
            h('h1', null, vm.name),
            tag.root,
            badge.root,
            h('div', { class: 'page-actions' }, buttons.root),
        ),
        reason,
        why,
        pending,
        area.root,
        h(
            'div',
            { class: 'columns' },
            h('div', null, timeline, figures.root, past, inside, events),
            h(
                'div',
                null,
                recordings,
                h('section', { class: 'panel' }, h('h2', null, 'About'), facts),
                disk,
                definition.root,
            ),
        ),
    );

    function recordingsPanel() {
        const list = recordingList({
            recorder,
            session,
            vmId: id,
            signal,
            onCount: (count) => setHidden(panel, count === 0),
        });
        const panel = h(
            'section',
            { class: 'panel', hidden: true },
            h('h2', null, 'Recordings'),
            list.root,
        );
        return panel;
    }

    function show() {
        tag.show(vm);
        badge.show(vm);
        buttons.show(vm);
        const telling = vm.state_reason && vm.state !== 'running';
        setText(reason, telling ? `${vm.state}: ${vm.state_reason}` : '');
        setHidden(reason, !telling);
        setText(
            why,
            vm.acceleration_reason ? `${vm.effective_acceleration}: ${vm.acceleration_reason}` : '',
        );
        setHidden(why, !vm.acceleration_reason);
        setHidden(pending, !vm.pending_changes);
        definition.show(vm);
        rate.show(vm);
        diskPanel?.show(vm);
        replace(
            facts,
            [
                ['CPUs', count(vm.cpus)],
                ['Memory', mib(vm.memory_mib)],
                ['Image', vm.image ?? 'none'],
                [
                    'Network',
                    (vm.networks ?? [])
                        .map((n) => [n.mode, n.source, n.mac].filter(Boolean).join(' '))
                        .join(', ') || 'none',
                ],
                ['Started', vm.started_at ? time(vm.started_at) : ABSENT],
                ['Console last opened', vm.last_attached_at ? time(vm.last_attached_at) : ABSENT],
                ['Created', time(vm.created_at)],
                ['Description', vm.description || ABSENT],
                ...Object.entries(vm.labels ?? {}),
            ].map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
        );
        figures.show();
    }

    herd.on(
        'vm',
        (changed) => {
            if (changed === id) {
                const before = vm.state;
                vm = herd.vms.get(id);
                show();
                if (vm.state !== before) {
                    announce(
                        `${vm.name} is ${vm.state}${vm.state_reason ? `: ${vm.state_reason}` : ''}`,
                    );
                }
            }
        },
        signal,
    );
    herd.on(
        'list',
        () => {
            if (herd.loaded && !herd.vms.has(id)) {
                announce(`${vm.name} was deleted`);
                location.hash = '#/';
            }
        },
        signal,
    );
    herd.on('figures', () => figures.show(), signal);
    herd.figures.claim(signal);
    show();
    const named = session.can('console:view') ? streamOf(view) : null;
    const has = named && (named.startsWith('vsock/') || streamsOf(vm).includes(named));
    return { title: vm.name, root, start: () => (has ? area.open(named) : area.show()) };
}

function figuresPanel(herd, current, signal) {
    const cpu = new Spark('cpu');
    const memory = new Spark('memory');
    const cpuText = h('span', { class: 'figure' });
    const memoryText = h('span', { class: 'figure' });
    const rows = h('dl', { class: 'facts' });
    const off = h('p', { class: 'help' }, 'There are no figures while the machine is off.');
    const body = h(
        'div',
        null,
        h(
            'div',
            { class: 'meter meter-wide' },
            h('span', { class: 'meter-name' }, 'CPU'),
            cpu.root,
            cpuText,
        ),
        h(
            'div',
            { class: 'meter meter-wide' },
            h('span', { class: 'meter-name' }, 'Memory'),
            memory.root,
            memoryText,
        ),
        rows,
        countersFold(() => current().id, signal),
    );
    const old = h('p', { class: 'help', hidden: true });
    const root = h('section', { class: 'panel' }, h('h2', null, 'Figures'), off, old, body);

    function show() {
        const vm = current();
        const now = herd.figures.of(vm.id);
        setHidden(body, !now);
        setHidden(off, Boolean(now));
        if (!now) {
            setHidden(old, true);
            setText(
                off,
                vm.state === 'running'
                    ? 'The first sample is on its way.'
                    : 'There are no figures while the machine is off.',
            );
            return;
        }
        const history = herd.figures.history(vm.id);
        cpu.draw(history.cpu, 100 * vm.cpus);
        memory.draw(history.memory, vm.memory_mib * 1024 * 1024);
        setText(cpuText, percent(now.cpu?.usage_percent));
        setText(memoryText, bytes(now.memory?.resident_bytes));
        const rate = (value) => (typeof value === 'number' ? `${bytes(value)}/s` : ABSENT);
        const list = [
            ['Disk read', rate(now.rates.storage_read_bytes_per_second)],
            ['Disk written', rate(now.rates.storage_write_bytes_per_second)],
            ['Network received', rate(now.rates.receive_bytes_per_second)],
            ['Network sent', rate(now.rates.transmit_bytes_per_second)],
            ['Merged by KSM', bytes(now.ksm.merging_bytes)],
            ['Saved by it', bytes(now.ksm.saved_bytes)],
            ['Sampled', clock(now.sampled_at)],
        ];
        setHidden(old, !now.stale);
        replace(old, staleMark(now), ` ${now.stale_reason ?? ''}`);
        body.classList.toggle('old-figures', Boolean(now.stale));
        factRows(rows, list);
    }
    return { root, show };
}

/* Texts are replaced in place. */
function factRows(list, facts) {
    if (list.children.length !== facts.length) {
        replace(
            list,
            facts.map(() => h('div', null, h('dt'), h('dd'))),
        );
    }
    facts.forEach(([name, value], index) => {
        setText(list.children[index].firstElementChild, name);
        setText(list.children[index].lastElementChild, value);
    });
}

/* What is counted since the start and what the guest tells: not streamed, read when it is wanted. */
function countersFold(id, signal) {
    const rows = h('dl', { class: 'facts' });
    const trouble = h('div', { role: 'alert' });
    const load = reloader(
        async () => {
            const now = await get(`/v1/vms/${encodeURIComponent(id())}/stats`, { signal });
            factRows(rows, counters(now));
        },
        { trouble, signal },
    );
    return h(
        'details',
        { class: 'fold', ontoggle: (event) => event.currentTarget.open && load() },
        h('summary', null, 'Counted since the start'),
        trouble,
        rows,
        h('button', { type: 'button', class: 'button small', onclick: () => load() }, 'Read again'),
    );
}

function counters(now) {
    return [
        ['CPU time', seconds(now.cpu?.usage_seconds)],
        ['Memory ceiling', bytes(now.memory?.maximum_bytes)],
        ...(now.disks ?? []).flatMap((d) => [
            [`Disk ${d.name} read`, bytes(d.read_bytes)],
            [`Disk ${d.name} written`, bytes(d.write_bytes)],
        ]),
        ...(now.interfaces ?? []).flatMap((n) => [
            [`Network ${n.name} received`, bytes(n.receive_bytes)],
            [`Network ${n.name} sent`, bytes(n.transmit_bytes)],
        ]),
        ['KSM, after its own costs', bytes(now.ksm?.profit_bytes)],
        ...(now.ksm?.reason ? [['Why KSM does not merge it', now.ksm.reason]] : []),
        ...(now.guest?.load
            ? [['Load inside', now.guest.load.map((v) => v.toFixed(2)).join(' ')]]
            : []),
        ...(now.guest?.filesystems ?? [])
            .filter((f) => f.total_bytes)
            .map((f) => [
                `${f.mountpoint} is full to`,
                `${percent((100 * f.used_bytes) / f.total_bytes)} of ${bytes(f.total_bytes)}`,
            ]),
        ['Sampled', now.sampled_at ? clock(now.sampled_at) : ABSENT],
        ...(now.hypervisor_sampled_at
            ? [['QEMU’s own figures', clock(now.hypervisor_sampled_at)]]
            : []),
    ];
}

function historyPanel(id, current, herd, signal) {
    return pastPanel({
        title: 'Over time',
        path: `/v1/vms/${encodeURIComponent(id)}/stats/history`,
        herd,
        signal,
        sample() {
            const now = herd.figures.of(id);
            return (
                now &&
                !now.stale && {
                    ...now.rates,
                    cpu_percent: now.cpu.usage_percent,
                    resident_bytes: now.memory.resident_bytes,
                    ksm_saved_bytes: now.ksm.saved_bytes,
                }
            );
        },
        plots: [
            {
                title: 'CPU, of one',
                format: percent,
                curves: [{ name: 'CPU', figure: 'cpu_percent' }],
            },
            {
                title: 'Memory',
                format: bytes,
                inBytes: true,
                ceiling: () => current().memory_mib * 1024 * 1024,
                curves: [
                    { name: 'resident', figure: 'resident_bytes' },
                    { name: 'saved', figure: 'ksm_saved_bytes' },
                ],
            },
            {
                title: 'Disk, per second',
                format: bytes,
                inBytes: true,
                curves: [
                    { name: 'read', figure: 'storage_read_bytes_per_second' },
                    { name: 'written', figure: 'storage_write_bytes_per_second' },
                ],
            },
            {
                title: 'Network, per second',
                format: bytes,
                inBytes: true,
                curves: [
                    { name: 'received', figure: 'receive_bytes_per_second' },
                    { name: 'sent', figure: 'transmit_bytes_per_second' },
                ],
            },
        ],
    });
}

function eventsPanel(herd, session, id, signal) {
    const who = actorNames(session, signal);
    who.loaded.then(() => show());
    const list = h('ol', { class: 'events' });
    const blank = h('p', { class: 'help' }, 'Nothing yet.');
    const seen = new Map();
    const take = (event) => {
        if (event.subject?.id === id || event.data?.vm_id === id) {
            seen.set(event.data?.operation_id ?? event.seq, event);
        }
    };
    const show = () => {
        const newest = [...seen.values()]
            .sort((a, b) => (a.at < b.at ? 1 : -1))
            .slice(0, EVENTS_SHOWN);
        replace(
            list,
            newest.map((event) =>
                h(
                    'li',
                    null,
                    h('time', { datetime: event.at }, clock(event.at)),
                    h('code', null, event.type),
                    h('span', null, sentence(event, who)),
                ),
            ),
        );
        setHidden(blank, newest.length > 0);
    };
    herd.events.forEach(take);
    herd.on(
        'event',
        (event) => {
            take(event);
            show();
        },
        signal,
    );
    pastOperations(id, signal).then(
        (items) => {
            items.filter((event) => !seen.has(event.data.operation_id)).forEach(take);
            show();
        },
        () => {},
    );
    show();
    return h('section', { class: 'panel' }, h('h2', null, 'What happened'), list, blank);
}

/* The event log is read forwards; what was done to this VM before the page opened is in its operations. */
async function pastOperations(id, signal) {
    const page = await get(`/v1/operations?vm=${encodeURIComponent(id)}&limit=${EVENTS_SHOWN}`, {
        signal,
    });
    return page.items.map((op) => ({
        seq: 0,
        at: op.finished_at ?? op.created_at,
        type: op.finished_at ? 'operation.finished' : 'operation.started',
        actor: op.actor,
        data: {
            vm_id: id,
            operation_id: op.id,
            kind: op.kind,
            state: op.state,
            error_code: op.error?.code,
        },
    }));
}

function sentence(event, who) {
    const by = event.actor && event.actor !== 'system' ? `, by ${who.of(event.actor)}` : '';
    return `${eventWords(event)}${by}`;
}
