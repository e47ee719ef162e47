/* The form that has the daemon fetch an image from an address, after checking what can be checked. */
import { post } from '../lib/api.js';
import { h, replace, setHidden } from '../lib/dom.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { bytes } from '../lib/format.js';

const ARRIVES = [
    ['', 'as it is'],
    ['vmdk', 'VMDK (VMware)'],
    ['vdi', 'VDI (VirtualBox)'],
    ['vhdx', 'VHDX (Hyper-V)'],
    ['raw', 'raw'],
    ['qcow2', 'qcow2'],
];

const HASH = '[0-9a-fA-F]{64}|[0-9a-fA-F]{128}';

/* A file to fetch: its address, and which of the two hashes it has. */
function link(url, hash) {
    const digest = hash.control.value.trim().toLowerCase();
    return { url: url.control.value.trim(), [hashName(digest)]: digest };
}
const hashName = (digest) => (digest.length === 128 ? 'sha512' : 'sha256');

export function fetchForm({ onStarted }) {
    const select = (options) =>
        h(
            'select',
            null,
            options.map(([value, text]) => h('option', { value }, text)),
        );
    const text = (props) =>
        h('input', {
            type: 'text',
            autocomplete: 'off',
            autocapitalize: 'none',
            spellcheck: 'false',
            ...props,
        });
    const url = field({
        label: 'Address',
        pointer: '/source/url',
        control: text({ type: 'url', required: true, placeholder: 'https://', oninput: guess }),
    });
    const hash = field({
        label: 'SHA-256 or SHA-512',
        pointer: '/source/sha256',
        help: 'Of the file at that address, as its makers publish it.',
        control: text({ required: true, pattern: HASH }),
    });
    const name = field({
        label: 'Name',
        pointer: '/name',
        control: text({ required: true, maxlength: 63 }),
    });
    const kind = field({
        label: 'It is',
        pointer: '/kind',
        control: select([
            ['disk', 'a disk'],
            ['iso', 'an installation disc (ISO)'],
            ['kernel', 'a kernel, perhaps with an initrd'],
        ]),
    });
    const arrives = field({
        label: 'Its format',
        pointer: '/source/format',
        help: 'Other formats are converted to qcow2.',
        control: select(ARRIVES),
    });
    const packed = field({
        label: 'Packed with xz',
        pointer: '/source/compression',
        control: h('input', { type: 'checkbox' }),
    });
    const initrd = field({
        label: 'Its initrd is at',
        pointer: '/source/initrd/url',
        control: text({ type: 'url', placeholder: 'https://' }),
    });
    const initrdHash = field({
        label: 'Hash of the initrd',
        pointer: '/source/initrd',
        control: text({ pattern: HASH }),
    });
    const cmdline = field({
        label: 'Kernel command line',
        pointer: '/cmdline',
        control: text({ value: 'console=ttyS0' }),
    });
    cmdline.control.defaultValue = cmdline.control.value;
    const all = [url, hash, name, kind, arrives, packed, initrd, initrdHash, cmdline];
    const trouble = h('div', { role: 'alert' });
    const checks = h('div', { role: 'status' });
    const check = h(
        'button',
        { type: 'button', class: 'button', onclick: () => send(true) },
        'Check first',
    );
    let named = '';

    function guess() {
        const file = url.control.value.split(/[?#]/)[0].split('/').pop().toLowerCase();
        const base = file.replace(/\.xz$/, '');
        packed.control.checked = base !== file;
        const ending = /\.(iso|vmdk|vdi|vhdx|qcow2|raw)$/.exec(base)?.[1];
        const kernel = /vmlinuz|bzimage/.test(base);
        kind.control.value = ending === 'iso' ? 'iso' : kernel ? 'kernel' : 'disk';
        arrives.control.value = ['vmdk', 'vdi', 'vhdx', 'raw'].includes(ending) ? ending : '';
        if (name.control.value === named) {
            named = base
                .replace(/\.[a-z0-9]+$/, '')
                .replace(/[^a-z0-9]+/g, '-')
                .replace(/^-+|-+$/g, '')
                .slice(0, 63);
            name.control.value = named;
        }
        arrange();
    }

    function arrange() {
        const kernel = kind.control.value === 'kernel';
        setHidden(arrives.root, kind.control.value !== 'disk');
        setHidden(packed.root, kernel);
        [initrd, initrdHash, cmdline].forEach((f) => setHidden(f.root, !kernel));
    }

    function wish() {
        const at = kind.control.value === 'kernel' ? '/source/kernel' : '/source';
        const source = link(url, hash);
        url.pointer = `${at}/url`;
        hash.pointer = `${at}/${'sha512' in source ? 'sha512' : 'sha256'}`;
        const body = { name: name.control.value.trim(), kind: kind.control.value, source };
        if (body.kind === 'kernel') {
            body.source = { kernel: source };
            if (initrd.control.value.trim()) {
                body.source.initrd = link(initrd, initrdHash);
            }
            if (cmdline.control.value.trim()) {
                body.cmdline = cmdline.control.value.trim();
            }
            return body;
        }
        if (body.kind === 'disk') {
            body.format = arrives.control.value === 'raw' ? 'raw' : 'qcow2';
            if (arrives.control.value && arrives.control.value !== body.format) {
                source.format = arrives.control.value;
            }
        }
        if (packed.control.checked) {
            source.compression = 'xz';
        }
        return body;
    }

    async function send(dry) {
        clearMarks(all, trouble);
        replace(checks);
        if (!form.reportValidity()) {
            return;
        }
        try {
            if (dry) {
                showChecks(await post('/v1/images?dry_run=true', wish()));
                return;
            }
            const image = await post('/v1/images', wish());
            form.reset();
            named = '';
            arrange();
            onStarted(image);
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        }
    }

    function showChecks(found) {
        const size = [
            found.size_bytes !== null && `${bytes(found.size_bytes)} to fetch`,
            found.virtual_size_bytes !== null &&
                `${bytes(found.virtual_size_bytes)} to the machine`,
        ].filter(Boolean);
        replace(
            checks,
            h(
                'div',
                { class: found.ok ? 'notice notice-good' : 'notice notice-bad' },
                h(
                    'p',
                    null,
                    h('strong', null, found.ok ? 'Nothing speaks against it' : 'It would not work'),
                ),
                h(
                    'ul',
                    { class: 'checks' },
                    found.checks.map((c) =>
                        h(
                            'li',
                            { 'data-result': c.ok ? 'ok' : 'failed' },
                            h(
                                'p',
                                null,
                                h(
                                    'span',
                                    { class: 'tag', 'data-state': c.ok ? 'ok' : 'failed' },
                                    c.ok ? 'fine' : 'no',
                                ),
                                c.detail,
                            ),
                            c.problem?.remedy && h('p', null, c.problem.remedy),
                        ),
                    ),
                ),
                size.length > 0 && h('p', { class: 'help' }, size.join(', ')),
            ),
        );
    }

    kind.control.addEventListener('change', arrange);
    arrange();
    const form = h(
        'form',
        {
            class: 'panel form',
            onsubmit(event) {
                event.preventDefault();
                send(false);
            },
        },
        h('h2', null, 'Fetch an image'),
        h(
            'div',
            { class: 'form-grid' },
            all.map((f) => f.root),
        ),
        trouble,
        checks,
        h(
            'div',
            { class: 'form-end' },
            check,
            h('button', { type: 'submit', class: 'button primary' }, 'Fetch'),
        ),
    );
    arrange();
    return form;
}
