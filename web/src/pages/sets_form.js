/* A new set: what it would make is asked of the daemon and shown while it is typed. */
import { listAll, post, request } from '../lib/api.js';
import { h, replace, setHidden } from '../lib/dom.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { plural } from '../lib/format.js';
import { imageOptions, nameField, numberInput, select, textInput } from '../lib/inputs.js';
import { announce } from '../lib/notify.js';

const PREVIEW_MS = 400;
const SHOWN = 4;
const MACHINES_MAX = 16;

export async function setForm({ load, signal, key }) {
    const images = (await listAll('/v1/images', { signal })).filter((i) => i.state === 'ready');
    const usual = images[0]?.name ?? '';
    const fields = {
        name: nameField(),
        count: field({
            label: 'Members',
            pointer: '/count',
            help: 'How many people.',
            control: numberInput(10, 1, 1000),
        }),
        pattern: field({
            label: 'Names of the machines',
            pointer: '/name_pattern',
            help: 'With {n} or {n:02}, {machine} and {set}.',
            control: textInput({ maxlength: 128, placeholder: '{set}-{n:02}-{machine}' }),
        }),
        subnet: field({
            label: 'Addresses (optional)',
            pointer: '/addresses/subnet',
            help: '10.40.{n}.0/24 gives each member a network.',
            control: textInput({ maxlength: 64 }),
        }),
        point: field({
            label: 'The next one starts',
            pointer: '/ready_when',
            control: select(
                [
                    ['running', 'when one runs'],
                    ['console', 'when one’s console has printed something'],
                    ['ready', 'when one says that it is ready'],
                ],
                'running',
            ),
        }),
        life: field({
            label: 'Deleted after',
            pointer: '/ttl_seconds',
            control: select([
                ['', 'never'],
                ['28800', '8 hours'],
                ['86400', 'one day'],
                ['432000', '5 days'],
                ['2592000', '30 days'],
            ]),
        }),
        start: field({
            label: 'Start now',
            pointer: '/start',
            control: h('input', { type: 'checkbox', checked: true }),
        }),
    };
    fields.start.control.defaultChecked = true;
    const all = Object.values(fields);
    const rows = h('div', { class: 'machine-rows' });
    const machines = [];
    const trouble = h('div', { role: 'alert' });
    const preview = h('div', { class: 'help', 'aria-live': 'polite' });
    const submit = h('button', { type: 'submit', class: 'button primary' }, 'Create');
    const value = (name) => fields[name].control.value.trim();
    let sent = key();
    let timer = null;
    signal.addEventListener('abort', () => clearTimeout(timer));

    function addMachine(name) {
        const machine = {
            name: field({
                label: 'Machine',
                control: textInput({ required: true, maxlength: 63, value: name }),
            }),
            image: field({ label: 'Image', control: select(imageOptions(images), usual) }),
            memory: field({ label: 'Memory in MiB', control: numberInput(512, 16, 4194304) }),
        };
        const remove = h(
            'button',
            {
                type: 'button',
                class: 'button small',
                'aria-label': `Remove ${name}`,
                onclick() {
                    machines.splice(machines.indexOf(machine), 1);
                    arrange();
                    changed();
                },
            },
            'Remove',
        );
        machine.remove = remove;
        machine.root = h(
            'div',
            { class: 'form-grid' },
            machine.name.root,
            machine.image.root,
            machine.memory.root,
            h('div', { class: 'field' }, remove),
        );
        machines.push(machine);
        arrange();
    }

    /* Which machine a problem is about depends on where it stands now. */
    function arrange() {
        machines.forEach((machine, at) => {
            machine.name.pointer = `/machines/${at}/name`;
            machine.image.pointer = `/machines/${at}/image`;
            machine.memory.pointer = `/machines/${at}/memory_mib`;
            setHidden(machine.remove, machines.length === 1);
        });
        replace(
            rows,
            machines.map((machine) => machine.root),
        );
    }

    const marked = () => [...all, ...machines.flatMap((m) => [m.name, m.image, m.memory])];

    function definition() {
        const body = {
            name: value('name'),
            count: Number(value('count')),
            machines: machines.map((machine) => {
                const made = {
                    name: machine.name.control.value.trim(),
                    memory_mib: Number(machine.memory.control.value),
                };
                if (machine.image.control.value) {
                    made.image = machine.image.control.value;
                }
                return made;
            }),
            ready_when: value('point'),
            start: fields.start.control.checked,
        };
        if (value('pattern')) {
            body.name_pattern = value('pattern');
        }
        if (value('subnet')) {
            body.addresses = { subnet: value('subnet') };
        }
        if (value('life')) {
            body.ttl_seconds = Number(value('life'));
        }
        return body;
    }

    async function look() {
        if (!value('name') || !Number(value('count'))) {
            replace(preview);
            return;
        }
        try {
            const plan = await request('POST', '/v1/sets?dry_run=true', {
                body: definition(),
                signal,
            });
            const names = plan.vms.slice(0, SHOWN).map((vm) => {
                const address = vm.networks[0]?.address;
                return address ? `${vm.name} (${address})` : vm.name;
            });
            const last = plan.vms.at(-1).name;
            replace(
                preview,
                h('strong', null, plural(plan.vms.length, 'machine')),
                `: ${names.join(', ')}${plan.vms.length > SHOWN ? ` … ${last}` : ''}`,
            );
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                replace(
                    preview,
                    h('span', { class: 'problem-detail' }, problem.detail || problem.title),
                );
            }
        }
    }

    /* The same key for the same request, a new one as soon as it says something else. */
    function changed() {
        sent = key();
        clearTimeout(timer);
        timer = setTimeout(look, PREVIEW_MS);
    }

    async function create(event) {
        event.preventDefault();
        clearMarks(marked(), trouble);
        submit.disabled = true;
        try {
            const set = await post('/v1/sets', definition(), { key: sent });
            announce(`The set ${set.name} was made`);
            form.reset();
            replace(preview);
            sent = key();
            await load();
        } catch (problem) {
            showFormProblem(marked(), trouble, problem);
        } finally {
            submit.disabled = false;
        }
    }

    const form = h(
        'form',
        { class: 'panel form', onsubmit: create, oninput: changed },
        h('h2', null, 'New set'),
        h('div', { class: 'form-grid' }, fields.name.root, fields.count.root),
        h('h3', null, 'Each member’s machines'),
        rows,
        h(
            'div',
            { class: 'button-row' },
            h(
                'button',
                {
                    type: 'button',
                    class: 'button small',
                    onclick() {
                        if (machines.length < MACHINES_MAX) {
                            addMachine(`pc${machines.length + 1}`);
                            changed();
                        }
                    },
                },
                'Another machine',
            ),
        ),
        h(
            'details',
            { class: 'fold' },
            h('summary', null, 'More settings'),
            h(
                'div',
                { class: 'form-grid' },
                fields.pattern.root,
                fields.subnet.root,
                fields.point.root,
                fields.life.root,
            ),
        ),
        preview,
        trouble,
        h('div', { class: 'form-end' }, fields.start.root, submit),
    );
    addMachine('pc');
    return form;
}
