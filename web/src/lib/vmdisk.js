/* What a VM's root disk stands on: made an image of, made to stand alone, put onto another image. Loaded on demand. */
import { operationProblem } from './actions.js';
import { get, listAll, post } from './api.js';
import { confirm, formSheet } from './dialog.js';
import { h, replace, setHidden, setText } from './dom.js';
import { field } from './forms.js';
import { nameField, select, textInput } from './inputs.js';
import { announce, showProblem } from './notify.js';
import { operationProgress } from './progress.js';

const OFF = ['stopped', 'crashed', 'failed'];
const COPIES = ['vm.flatten', 'vm.rebase'];
const FREEZE = [
    ['auto', 'if its guest agent answers'],
    ['require', 'or make no image'],
    ['no', 'never'],
];

export function diskPanel({ vm: first, session, signal }) {
    let vm = first;
    let running = null; /* the operation whose progress is shown */
    let image = null; /* {id, name, kind} of what it stands on */
    const path = `/v1/vms/${encodeURIComponent(first.id)}`;
    const mayPublish = session.can('image:write');
    const mayChange = session.can('vm:write');
    const words = h('p');
    const why = h('p', { class: 'help' });
    const going = h('div');
    const publish = button('Make an image …', askImage);
    const flatten = button('Make it stand alone …', askFlatten);
    const rebase = button('Put onto another image …', askRebase);
    const root = h(
        'section',
        { class: 'panel', 'aria-label': 'Root disk' },
        h('h2', null, 'Root disk'),
        h(
            'div',
            { class: 'stack' },
            words,
            why,
            going,
            h(
                'div',
                { class: 'button-row' },
                mayPublish && publish,
                mayChange && [flatten, rebase],
            ),
        ),
    );

    /* A kernel image gives a machine no disk. One whose disk stands alone has a name left, and no id. */
    function show(now) {
        vm = now;
        const stands = Boolean(vm.image_id);
        const off = OFF.includes(vm.state);
        const known = stands ? image?.id === vm.image_id && image.kind === 'disk' : vm.image;
        if (stands && image?.id !== vm.image_id) {
            learn(vm.image_id);
        }
        setHidden(root, !known || !(mayPublish || mayChange));
        setText(
            words,
            stands
                ? `It shares what it has not changed with the image ${image?.name}, which therefore has to stay.`
                : 'It stands alone: no image is needed for it.',
        );
        setText(
            why,
            mayChange && !off && stands
                ? `To make it stand alone or to put it onto another image, shut the machine down first; it is ${vm.state}.`
                : '',
        );
        setHidden(why, !why.textContent);
        flatten.disabled = !off || Boolean(running);
        rebase.disabled = !off || Boolean(running);
        setHidden(flatten, !stands);
        setHidden(rebase, !stands);
    }

    async function learn(id) {
        image = { id };
        try {
            image = await get(`/v1/images/${encodeURIComponent(id)}`, { signal });
        } catch {
            return; /* who may not see images is offered nothing here */
        }
        show(vm);
    }

    function follow(operation, what, good) {
        running = operation.id;
        show(vm);
        replace(
            going,
            operationProgress({
                operation,
                what,
                signal,
                onEnd(end) {
                    running = null;
                    replace(going);
                    show(vm);
                    if (end.state === 'succeeded') {
                        announce(good);
                    } else if (end.state !== 'cancelled') {
                        showProblem(`${what} did not work`, operationProblem(end));
                    }
                },
            }),
        );
    }

    async function askImage() {
        const name = nameField({ label: 'Name of the image' });
        const description = field({
            label: 'Description',
            pointer: '/description',
            control: textInput({ maxlength: 1024 }),
        });
        const freeze = field({
            label: 'Freeze its file systems for that moment',
            pointer: '/source/freeze',
            control: select(FREEZE, 'auto'),
        });
        const on = !OFF.includes(vm.state);
        name.control.value = `${vm.name}-image`.slice(-63);
        let made = null;
        const sent = await formSheet({
            title: `Make an image of ${vm.name}`,
            body: h(
                'p',
                null,
                on
                    ? 'Its root disk as it is at one moment; the machine goes on.'
                    : 'Its root disk as it is now.',
                ' Passwords and keys in it are in the image, too.',
            ),
            fields: on ? [name, description, freeze] : [name, description],
            action: 'Make the image',
            async send() {
                const source = { vm: vm.id };
                if (on) {
                    source.freeze = freeze.control.value;
                }
                made = await post('/v1/images', {
                    name: name.control.value.trim(),
                    kind: 'disk',
                    format: 'qcow2',
                    description: description.control.value.trim(),
                    source,
                });
            },
        });
        if (sent) {
            announce(`The image ${made.name} is being made`);
            location.hash = '#/images';
        }
    }

    async function askFlatten() {
        const yes = await confirm({
            title: `Make the disk of ${vm.name} stand alone?`,
            body: `What it shares with ${image.name} is copied into it, which takes room on the host’s disk. The machine sees no difference; the image may go afterwards.`,
            action: 'Copy',
        });
        if (!yes) {
            return;
        }
        const what = `Making the disk of ${vm.name} stand alone`;
        try {
            const operation = await post(`${path}/flatten`);
            follow(operation, what, `The disk of ${vm.name} stands alone`);
        } catch (problem) {
            showProblem(`${what} did not work`, problem);
        }
    }

    async function askRebase() {
        const images = (await listAll('/v1/images', { signal }).catch(() => [])).filter(
            (i) => i.state === 'ready' && i.kind === 'disk' && i.id !== vm.image_id,
        );
        const other = field({
            label: 'Image',
            pointer: '/image',
            control: select(images.map((i) => [i.name, i.name])),
            help: images.length ? null : 'There is no other disk that is ready.',
        });
        let operation = null;
        const sent = await formSheet({
            title: `Put ${vm.name} onto another image`,
            body: h(
                'p',
                null,
                'The machine sees the same bytes as before: what the other image has, too, is shared, the rest is copied. ',
                `It needs ${image.name} no longer.`,
            ),
            fields: [other],
            action: 'Put it there',
            async send() {
                operation = await post(`${path}/rebase`, { image: other.control.value });
            },
        });
        if (sent) {
            const words = `${vm.name} stands on ${other.control.value}`;
            follow(operation, `Putting ${vm.name} onto another image`, words);
        }
    }

    /* One that was begun before this page was opened. */
    get(`/v1/operations?vm=${encodeURIComponent(first.id)}&limit=5`, { signal }).then(
        ({ items }) => {
            const now = items.find(
                (op) => COPIES.includes(op.kind) && ['pending', 'running'].includes(op.state),
            );
            if (now && !running) {
                follow(now, `Copying the disk of ${vm.name}`, `The disk of ${vm.name} is copied`);
            }
        },
        () => {},
    );
    show(vm);
    return { root, show };
}

function button(text, onclick) {
    return h('button', { type: 'button', class: 'button small', onclick }, text);
}
