/* What an image says of itself, and changing that. */
import { del, post, request } from '../lib/api.js';
import { sheet } from '../lib/dialog.js';
import { h, icon } from '../lib/dom.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { announce, showProblem } from '../lib/notify.js';
import { here } from '../lib/place.js';
import { upload } from '../lib/upload.js';

const pathOf = (image) => `/v1/images/${encodeURIComponent(image.id)}`;

/* Its picture and words, above the facts. */
export function cardWords(image) {
    return [
        image.has_screenshot &&
            h('img', {
                class: 'card-picture',
                src: `${here(`${pathOf(image)}/screenshot`)}#${image.etag}`,
                alt: `${image.title || image.name}, as it looks`,
                loading: 'lazy',
            }),
        image.title && h('p', null, h('strong', null, image.title)),
        image.description && h('p', null, image.description),
        image.notes && h('p', { class: 'help' }, image.notes),
    ];
}

/* One press: a machine with what the image says it needs. */
export function runButton(image) {
    const button = h(
        'button',
        { type: 'button', class: 'button small primary', 'aria-label': `Run ${image.name}`, onclick: run },
        icon('plus'),
        'Run',
    );
    async function run() {
        button.disabled = true;
        try {
            const vm = await post(`${pathOf(image)}/run`, {});
            announce(`${vm.name} starts`);
            location.hash = `#/vms/${encodeURIComponent(vm.name)}`;
        } catch (problem) {
            button.disabled = false;
            showProblem(`Running ${image.name} did not work`, problem);
        }
    }
    return button;
}

export function editCard(image, { onSaved }) {
    const text = (value, attributes) =>
        h('input', { type: 'text', autocomplete: 'off', value: value ?? '', ...attributes });
    const fields = [
        field({ label: 'Title', pointer: '/title', control: text(image.title, { maxlength: 256 }) }),
        field({ label: 'Description', pointer: '/description', control: text(image.description, { maxlength: 1024 }) }),
        field({
            label: 'Notes',
            pointer: '/notes',
            control: h('textarea', { rows: 3, maxlength: 4096 }, image.notes),
        }),
        field({ label: 'Architecture', pointer: '/architecture', control: text(image.architecture, { maxlength: 64 }) }),
        field({
            label: 'Its console shows',
            help: 'A regular expression; “drover image test” looks for it.',
            pointer: '/expected_console',
            control: text(image.expected_console, { maxlength: 512, spellcheck: 'false' }),
        }),
        field({
            label: 'Memory in MiB',
            help: 'Of a machine that is run with one press.',
            pointer: '/vm/memory_mib',
            control: h('input', { type: 'number', min: 1, value: image.vm.memory_mib ?? '' }),
        }),
        field({
            label: 'CPUs',
            pointer: '/vm/cpus',
            control: h('input', { type: 'number', min: 1, value: image.vm.cpus ?? '' }),
        }),
        field({
            label: 'Picture',
            help: 'A PNG file of at most 190 KiB.',
            control: h('input', { type: 'file', accept: 'image/png' }),
        }),
    ];
    const [title, description, notes, architecture, pattern, memory, cpus, picture] = fields.map((f) => f.control);
    const noPicture = field({
        label: 'Take the picture away',
        control: h('input', { type: 'checkbox' }),
    });
    const trouble = h('div', { role: 'alert' });
    const number = (control) => (control.value === '' ? null : Number(control.value));
    const form = h(
        'form',
        { class: 'form', onsubmit: save },
        fields.map((f) => f.root),
        image.has_screenshot && noPicture.root,
        trouble,
        h('div', { class: 'form-end' }, h('button', { type: 'submit', class: 'button primary' }, 'Save')),
    );
    const dialog = sheet({ title: `About ${image.name}`, body: form, closed: () => {} });

    async function save(event) {
        event.preventDefault();
        clearMarks(fields, trouble);
        try {
            await request('PATCH', pathOf(image), {
                headers: { 'If-Match': `"${image.etag}"` },
                body: {
                    title: title.value.trim(),
                    description: description.value.trim(),
                    notes: notes.value,
                    architecture: architecture.value.trim(),
                    expected_console: pattern.value || null,
                    vm: { memory_mib: number(memory), cpus: number(cpus) },
                },
            });
            if (picture.files[0]) {
                await upload(`${pathOf(image)}/screenshot`, picture.files[0], { onProgress() {} });
            } else if (noPicture.control.checked) {
                await del(`${pathOf(image)}/screenshot`);
            }
            dialog.close();
            announce(`${image.name} is described anew`);
            await onSaved();
        } catch (problem) {
            showFormProblem(fields, trouble, problem);
        }
    }
}
