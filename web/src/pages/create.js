/* A new VM: few questions, good answers filled in, and the same request for a shell. */
import { listAll, post, randomKey } from '../lib/api.js';
import { copyButton } from '../lib/clipboard.js';
import { h, setHidden, setText } from '../lib/dom.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { curlLine, droverLine } from '../lib/commands.js';
import { select, textInput } from '../lib/inputs.js';
import { operationProblem } from '../lib/actions.js';
import { suggestName } from '../lib/names.js';
import { announce, showProblem } from '../lib/notify.js';
import { insideFields } from '../lib/inside.js';

export async function createPage({ herd, signal }) {
    const images = (await listAll('/v1/images', { signal })).filter(
        (image) => image.state === 'ready' && image.kind !== 'iso',
    );
    const asked = new URLSearchParams(location.hash.split('?')[1]).get('image');
    const usual =
        images.find((image) => image.name === asked) ??
        images.find((image) => image.name === 'demo') ??
        images[0];
    const number = (value, min, max) =>
        h('input', {
            type: 'number',
            value: String(value),
            min,
            max,
            step: 1,
            required: true,
            inputmode: 'numeric',
        });
    const isTaken = (name) => herd.byName(name);
    let suggested = suggestName(isTaken);
    const fields = {
        name: field({
            label: 'Name',
            pointer: '/name',
            help: 'Lower-case letters, digits and hyphens.',
            control: h('input', {
                type: 'text',
                required: true,
                maxlength: 63,
                autocomplete: 'off',
                autocapitalize: 'none',
                spellcheck: 'false',
                pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?',
                title: 'Lower-case letters, digits and hyphens; the first and the last are no hyphen',
                value: suggested,
            }),
        }),
        image: field({
            label: 'Image',
            pointer: '/image',
            help: images.length ? null : 'There is no image yet: upload one on the page “Images”.',
            control: h(
                'select',
                null,
                images.map((image) =>
                    h(
                        'option',
                        { value: image.name, selected: image === usual },
                        image.description ? `${image.name}: ${image.description}` : image.name,
                    ),
                ),
                h('option', { value: '' }, 'none'),
            ),
        }),
        cpus: field({ label: 'CPUs', pointer: '/cpus', control: number(1, 1, 255) }),
        memory: field({
            label: 'Memory in MiB',
            pointer: '/memory_mib',
            control: number(512, 16, 4194304),
        }),
        description: field({
            label: 'Description',
            pointer: '/description',
            control: h('input', { type: 'text', autocomplete: 'off' }),
        }),
        labels: field({
            label: 'Labels',
            pointer: '/labels',
            help: 'key=value, separated by spaces: to find it again in a long list.',
            control: h('input', {
                type: 'text',
                autocomplete: 'off',
                autocapitalize: 'none',
                spellcheck: 'false',
                placeholder: 'tier=web env=test',
            }),
        }),
        disk: field({
            label: 'Root disk in GiB',
            pointer: '/root_disk_gib',
            help: 'Empty: as large as the image says.',
            control: h('input', {
                type: 'number',
                min: 1,
                max: 65536,
                step: 1,
                inputmode: 'numeric',
            }),
        }),
        firmware: field({
            label: 'Firmware',
            pointer: '/firmware',
            control: h(
                'select',
                null,
                ['bios', 'uefi'].map((v) => h('option', { value: v }, v)),
            ),
        }),
        acceleration: field({
            label: 'Acceleration',
            pointer: '/acceleration',
            help: 'auto uses KVM where it works and says so when it does not.',
            control: h(
                'select',
                null,
                ['auto', 'kvm', 'emulated'].map((v) => h('option', { value: v }, v)),
            ),
        }),
        disks: field({
            label: 'Further disks in GiB',
            pointer: '/disks',
            help: 'Sizes of empty ones, separated by spaces.',
            control: textInput({ inputmode: 'numeric', placeholder: '10 50' }),
        }),
        network: field({
            label: 'Network',
            pointer: '/networks',
            control: select(
                [
                    ['user', 'outgoing only (user mode)'],
                    ['bridge', 'a bridge of the host'],
                    ['network', 'a network of libvirt'],
                    ['none', 'none'],
                ],
                'user',
                { oninput: () => setHidden(fields.source.root, !hasSource()) },
            ),
        }),
        source: field({
            label: 'Name of the bridge or network',
            pointer: '/networks/0/source',
            control: textInput({ maxlength: 64 }),
        }),
        display: field({
            label: 'With a display',
            pointer: '/display',
            control: h('input', { type: 'checkbox' }),
        }),
        record: field({
            label: 'Record the console of every boot',
            pointer: '/record_console',
            control: h('input', { type: 'checkbox' }),
        }),
        serial: field({
            label: 'Serial ports',
            pointer: '/serial_ports',
            help: 'The first is the console.',
            control: number(1, 1, 4),
        }),
        channels: field({
            label: 'Channels',
            pointer: '/channels',
            help: 'Names of virtio-serial ports, separated by spaces.',
            control: h('input', {
                type: 'text',
                autocomplete: 'off',
                autocapitalize: 'none',
                spellcheck: 'false',
            }),
        }),
        autostart: field({
            label: 'Start together with the daemon',
            pointer: '/autostart',
            control: h('input', { type: 'checkbox' }),
        }),
        hostShutdown: field({
            label: 'When the host shuts down',
            pointer: '/on_host_shutdown',
            control: select(
                [
                    ['shutdown', 'ask it to shut down'],
                    ['save', 'save its memory to disk'],
                    ['leave', 'do nothing'],
                ],
                'shutdown',
            ),
        }),
        hostShutdownSeconds: field({
            label: 'How long that may take, in seconds',
            pointer: '/host_shutdown_seconds',
            help: 'Then it is stopped.',
            control: number(120, 1, 3600),
        }),
        ...insideFields(),
        start: field({
            label: 'Start now',
            pointer: '/start',
            control: h('input', { type: 'checkbox', checked: true }),
        }),
    };
    const hasSource = () => ['bridge', 'network'].includes(fields.network.control.value);
    /* The narrower pointer first: a problem is marked at the first field that fits. */
    const all = [fields.source, ...Object.values(fields).filter((f) => f !== fields.source)];
    setHidden(fields.source.root, true);
    const value = (name) => fields[name].control.value.trim();
    const trouble = h('div', { role: 'alert' });
    const curl = h('code');
    const drover = h('code');
    const button = h('button', { type: 'submit', class: 'button primary' }, 'Create');
    let key = randomKey();

    function definition() {
        const body = {
            name: value('name'),
            cpus: Number(value('cpus')),
            memory_mib: Number(value('memory')),
        };
        if (value('image')) {
            body.image = value('image');
        }
        if (value('description')) {
            body.description = value('description');
        }
        if (value('labels')) {
            body.labels = Object.fromEntries(
                value('labels')
                    .split(/\s+/)
                    .map((label) => label.split(/=(.*)/s))
                    .map(([key, text = '']) => [key, text]),
            );
        }
        if (value('disk')) {
            body.root_disk_gib = Number(value('disk'));
        }
        if (value('firmware') !== 'bios') {
            body.firmware = value('firmware');
        }
        if (value('acceleration') !== 'auto') {
            body.acceleration = value('acceleration');
        }
        if (value('disks')) {
            body.disks = value('disks')
                .split(/[\s,]+/)
                .map((size) => ({ size_gib: Number(size) }));
        }
        body.networks = networks();
        if (value('channels')) {
            body.channels = value('channels').split(/[\s,]+/);
        }
        if (value('serial') !== '1') {
            body.serial_ports = Number(value('serial'));
        }
        if (fields.display.control.checked) {
            body.display = true;
        }
        if (fields.record.control.checked) {
            body.record_console = true;
        }
        if (fields.autostart.control.checked) {
            body.autostart = true;
        }
        if (value('hostShutdown') !== 'shutdown') {
            body.on_host_shutdown = value('hostShutdown');
        }
        if (value('hostShutdownSeconds') !== '120') {
            body.host_shutdown_seconds = Number(value('hostShutdownSeconds'));
        }
        if (value('keys')) {
            body.ssh_keys = value('keys')
                .split('\n')
                .map((line) => line.trim())
                .filter(Boolean);
        }
        if (value('userData')) {
            body.user_data = fields.userData.control.value;
        }
        if (value('pattern')) {
            body.ready_pattern = fields.pattern.control.value;
        }
        if (!fields.merge.control.checked) {
            body.memory_merge = false;
        }
        body.start = fields.start.control.checked;
        return body;
    }

    function networks() {
        const mode = value('network');
        if (mode === 'none') {
            return [];
        }
        return [hasSource() ? { mode, source: value('source') } : { mode }];
    }

    function showCommands() {
        const body = definition();
        setText(curl, curlLine(body));
        setText(drover, droverLine(body));
    }

    /* The machines may come later than this page, and one of them be called so; what was typed stays. */
    function suggestAnother() {
        const input = fields.name.control;
        if (suggested && input.value === suggested && isTaken(suggested)) {
            input.value = suggested = suggestName(isTaken);
            document.activeElement === input && input.select();
            key = randomKey();
            showCommands();
        }
    }

    async function create(event) {
        event.preventDefault();
        suggested = ''; /* from here on the name is what was asked for, also when its answer is lost */
        clearMarks(all, trouble);
        button.disabled = true;
        try {
            const vm = await post('/v1/vms', definition(), { key });
            herd.put(vm);
            announce(`${vm.name} was created`);
            followStart(vm);
            location.hash = `#/vms/${encodeURIComponent(vm.name)}`;
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        } finally {
            button.disabled = false;
        }
    }

    function followStart(vm) {
        if (vm.operation) {
            herd.operation(vm.operation).then(
                (end) => {
                    if (end.state !== 'succeeded') {
                        showProblem(
                            `${vm.name} was created but did not start`,
                            operationProblem(end),
                        );
                    }
                },
                () => {},
            );
        }
    }

    const form = h(
        'form',
        {
            class: 'panel form',
            onsubmit: create,
            /* The same key for the same request, a new one as soon as it says something else. */
            oninput() {
                key = randomKey();
                showCommands();
            },
        },
        h(
            'div',
            { class: 'form-grid' },
            fields.name.root,
            fields.image.root,
            fields.cpus.root,
            fields.memory.root,
        ),
        h(
            'details',
            { class: 'fold' },
            h('summary', null, 'More settings'),
            h(
                'div',
                { class: 'form-grid' },
                fields.description.root,
                fields.labels.root,
                fields.disk.root,
                fields.disks.root,
                fields.firmware.root,
                fields.acceleration.root,
                fields.network.root,
                fields.source.root,
                fields.channels.root,
                fields.serial.root,
                fields.hostShutdown.root,
                fields.hostShutdownSeconds.root,
                h(
                    'div',
                    { class: 'checkboxes' },
                    fields.display.root,
                    fields.record.root,
                    fields.autostart.root,
                    fields.merge.root,
                ),
            ),
        ),
        h(
            'details',
            { class: 'fold' },
            h('summary', null, 'Inside the guest'),
            fields.keys.root,
            fields.userData.root,
            fields.pattern.root,
        ),
        trouble,
        h(
            'div',
            { class: 'form-end' },
            fields.start.root,
            h('a', { class: 'button', href: '#/' }, 'Cancel'),
            button,
        ),
    );
    showCommands();
    herd.on('list', suggestAnother, signal);
    return {
        title: 'New machine',
        root: h(
            'div',
            { class: 'narrow' },
            h('div', { class: 'page-head' }, h('h1', null, 'New machine')),
            form,
            commandPanel('The same with drover', drover, 'the drover command'),
            commandPanel('The same with curl', curl, 'the curl command'),
        ),
        start() {
            fields.name.control.focus();
            fields.name.control.select();
        },
    };
}

function commandPanel(title, code, what) {
    return h(
        'section',
        { class: 'panel' },
        h('div', { class: 'panel-head' }, h('h2', null, title), copyButton(code, what)),
        h('pre', { class: 'code', tabindex: '0', 'aria-label': title }, code),
    );
}
