/* Images: what machines are made from. Uploading goes on while this page is open. */
import { operationProblem } from '../lib/actions.js';
import { del, listAll, post } from '../lib/api.js';
import { confirm } from '../lib/dialog.js';
import { h, icon, replace, setHidden, setText } from '../lib/dom.js';
import { finder } from '../lib/finder.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { bytes, plural, time } from '../lib/format.js';
import { menu } from '../lib/menu.js';
import { announce, showProblem } from '../lib/notify.js';
import { operationProgress } from '../lib/progress.js';
import { reloader } from '../lib/reload.js';
import { upload } from '../lib/upload.js';
import { cardWords, editCard, runButton } from './images_card.js';
import { catalogue } from './images_catalogue.js';
import { fetchForm } from './images_fetch.js';
import { askLabel, labelSection } from './images_labels.js';
import { sourceSection } from './images_sources.js';

const KINDS = [
    ['disk', 'a disk'],
    ['iso', 'an installation disc (ISO)'],
    ['kernel', 'a kernel, perhaps with an initrd'],
];
const PARTS = { disk: ['content'], iso: ['content'], kernel: ['kernel', 'initrd'] };

export async function imagesPage({ herd, session, signal }) {
    const mayWrite = session.can('image:write');
    const list = h('ul', { class: 'cards' });
    const blank = h('div', { class: 'blank' });
    const trouble = h('div', { role: 'alert' });
    const running = new Map(); /* image id -> {root}, while its bytes are on the way */
    let images = [];
    let labels = [];
    let uploads = 0;
    const labelled = labelSection({ mayWrite, onSaved: () => load() });

    const load = reloader(
        async () => {
            [images, labels] = await Promise.all([
                listAll('/v1/images', { signal }),
                listAll('/v1/image-labels', { signal }),
            ]);
            await follow();
            show();
        },
        { trouble, signal },
    );

    /* What brings an image's bytes; each is followed once. */
    async function follow() {
        if (!images.some((image) => image.state === 'importing' && !running.has(image.id))) {
            return;
        }
        const going = await Promise.all(
            ['running', 'pending'].map((state) => listAll(`/v1/operations?state=${state}`, { signal })),
        );
        for (const operation of going.flat()) {
            if (operation.image_id && !running.has(operation.image_id)) {
                watch(operation);
            }
        }
    }

    function watch(operation) {
        const id = operation.image_id;
        const name = images.find((i) => i.id === id)?.name ?? 'an image';
        track(id, operation, `Fetching ${name}`, `${name} is ready`);
    }

    /* Every byte is read again and compared: what changed on the disk is found before a machine starts from it. */
    async function verify(image) {
        try {
            const operation = await post(`/v1/images/${encodeURIComponent(image.id)}/verify`);
            const good = `${image.name} is whole: every byte is as it was`;
            track(image.id, operation, `Verifying ${image.name}`, good);
            show();
        } catch (problem) {
            showProblem(`Verifying ${image.name} did not work`, problem);
        }
    }

    function track(id, operation, what, good) {
        const root = operationProgress({
            operation,
            what,
            signal,
            onEnd(end) {
                running.delete(id);
                if (end.state === 'succeeded') {
                    announce(good);
                } else if (end.state !== 'cancelled') {
                    showProblem(`${what} did not work`, operationProblem(end));
                }
                load();
            },
        });
        running.set(id, { root });
    }

    function show() {
        const focused = document.activeElement?.getAttribute('aria-label');
        images.sort((a, b) => (a.name < b.name ? -1 : 1));
        replace(list, images.map(card));
        labelled.show(labels, images);
        setHidden(blank, images.length > 0);
        replace(
            blank,
            h('h2', null, 'No images yet'),
            h(
                'p',
                null,
                'An image is a disk, an installation disc or a kernel that machines start from.',
            ),
        );
        if (focused && document.activeElement === document.body) {
            [...list.querySelectorAll('[aria-label]')]
                .find((e) => e.getAttribute('aria-label') === focused)
                ?.focus();
        }
    }

    function card(image) {
        const files = Object.values(image.files ?? {});
        const size = files.reduce((sum, file) => sum + (file?.size_bytes ?? 0), 0);
        const virtual = image.files?.content?.virtual_size_bytes;
        const facts = [
            [image.kind, image.format].filter(Boolean).join(', '),
            files.length ? bytes(size) : null,
            virtual && virtual !== size ? `${bytes(virtual)} to the machine` : null,
            `used by ${plural(image.used_by, 'machine')}`,
        ].filter(Boolean);
        const job = running.get(image.id);
        return h(
            'li',
            { class: 'panel card', 'data-image': image.name },
            h(
                'div',
                { class: 'vm-title' },
                h('strong', null, image.name),
                h('span', { class: 'tag', 'data-state': image.state }, image.state),
                labels
                    .filter((label) => label.image_id === image.id)
                    .map((label) =>
                        h('span', { class: 'tag', title: 'a label that moves' }, `${label.name} ${label.version}`),
                    ),
            ),
            cardWords(image),
            h('p', { class: 'help' }, facts.join(' · ')),
            h('p', { class: 'help' }, wholeness(image, files)),
            image.state_reason && h('p', { class: 'problem-detail' }, image.state_reason),
            job?.root,
            h('div', { class: 'button-row' }, buttons(image, job)),
        );
    }

    function buttons(image, job) {
        const waiting = image.state === 'empty' || image.state === 'failed';
        return [
            image.state === 'ready' &&
                image.kind !== 'iso' &&
                session.can('vm:write') &&
                h(
                    'a',
                    {
                        class: 'button small',
                        href: `#/new?image=${encodeURIComponent(image.name)}`,
                        'aria-label': `New machine from ${image.name}`,
                    },
                    icon('plus'),
                    'New machine',
                ),
            image.state === 'ready' && image.kind !== 'iso' && session.can('vm:write') && runButton(image),
            mayWrite && waiting && !job && image.kind !== 'kernel' && filePicker(image),
            mayWrite &&
                image.state !== 'retired' &&
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'button small',
                        'aria-label': `Describe ${image.name}`,
                        onclick: () => editCard(image, { onSaved: load }),
                    },
                    'Describe',
                ),
            mayWrite && image.state === 'ready' && !job && moreFor(image),
            mayWrite &&
                !job &&
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'button small danger',
                        'aria-label': `Delete ${image.name}`,
                        onclick: () => remove(image),
                    },
                    'Delete',
                ),
        ];
    }

    function moreFor(image) {
        const item = (text, label, onclick) =>
            h(
                'button',
                { type: 'button', class: 'button small', 'aria-label': label, onclick },
                text,
            );
        return menu(
            { label: `More for ${image.name}` },
            item('Label …', `Label ${image.name}`, () =>
                askLabel({ image: image.name, images, onSaved: load }),
            ),
            item('Verify', `Verify ${image.name}`, () => verify(image)),
        ).root;
    }

    /* Once more, after it broke off. */
    function filePicker(image) {
        const input = h('input', {
            type: 'file',
            hidden: true,
            'aria-label': `File for ${image.name}`,
            onchange: () => input.files[0] && send(image, { content: input.files[0] }),
        });
        return [
            input,
            h(
                'button',
                {
                    type: 'button',
                    class: 'button small',
                    'aria-label': `Upload the file of ${image.name}`,
                    onclick: () => input.click(),
                },
                'Upload the file',
            ),
        ];
    }

    async function remove(image) {
        const yes = await confirm({
            title: `Delete ${image.name}?`,
            action: 'Delete',
            danger: true,
            body: 'Its bytes are removed, unless another image has the same. Machines keep theirs.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/images/${encodeURIComponent(image.id)}`);
            announce(`${image.name} was deleted`);
        } catch (problem) {
            showProblem(`Deleting ${image.name} did not work`, problem);
        }
        await load();
    }

    async function send(image, files) {
        const stop = new AbortController();
        const end = () => stop.abort();
        signal.addEventListener('abort', end);
        const job = {
            bar: h('progress', { max: 1, value: 0, 'aria-label': `Upload of ${image.name}` }),
            text: h('span', { class: 'help' }),
            cancel: h('button', { type: 'button', class: 'button small', onclick: end }, 'Cancel'),
        };
        job.root = h('div', { class: 'progress' }, job.bar, job.text, job.cancel);
        running.set(image.id, job);
        uploads += 1;
        show();
        try {
            for (const [part, file] of Object.entries(files)) {
                const tail = part === 'content' ? 'content' : `content/${part}`;
                const path = `/v1/images/${encodeURIComponent(image.id)}/${tail}`;
                const onProgress = (sent, total) => {
                    job.bar.value = total ? sent / total : 0;
                    const done = sent === total;
                    setText(job.text, done ? 'Checking …' : `${bytes(sent)} of ${bytes(total)}`);
                };
                await upload(path, file, { signal: stop.signal, onProgress });
            }
            announce(`${image.name} is uploaded`);
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                showProblem(`Uploading ${image.name} did not work`, problem);
            }
        } finally {
            signal.removeEventListener('abort', end);
            running.delete(image.id);
            uploads -= 1;
        }
        if (!signal.aborted) {
            await load();
        }
    }

    addEventListener(
        'beforeunload',
        (event) => uploads > 0 && event.preventDefault() /* the browser asks */,
        { signal },
    );
    herd.follows(
        (event) => event.subject?.kind === 'image' && !running.has(event.subject.id),
        load,
        signal,
    );
    await load();
    const offered = await catalogue({ session, signal });
    const sources = mayWrite && (await sourceSection({ signal, onChange: offered.load }));
    return {
        title: 'Images',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Images')),
            trouble,
            finder(list, 'images'),
            list,
            blank,
            labelled.root,
            offered.root,
            sources,
            mayWrite && fetchForm({ onStarted: load }),
            mayWrite && uploadForm({ send, load }),
        ),
    };
}

/* Since when it is here, and when its bytes were last found to be what they were. */
function wholeness(image, files) {
    const read = files.map((file) => file?.verified_at).filter(Boolean);
    const last = read.length > 0 && `verified ${time(read.sort()[0])}`;
    return [`since ${time(image.created_at)}`, last].filter(Boolean).join(' · ');
}

function uploadForm({ send, load }) {
    const select = (options) =>
        h(
            'select',
            null,
            options.map(([value, text]) => h('option', { value }, text)),
        );
    const name = field({
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
        }),
    });
    const kind = field({ label: 'It is', pointer: '/kind', control: select(KINDS) });
    const format = field({
        label: 'Format',
        pointer: '/format',
        control: select([
            ['qcow2', 'qcow2'],
            ['raw', 'raw'],
            ['vmdk', 'VMDK, converted to qcow2'],
            ['vdi', 'VDI, converted to qcow2'],
            ['vhdx', 'VHDX, converted to qcow2'],
        ]),
    });
    const content = field({ label: 'File', control: h('input', { type: 'file', required: true }) });
    const initrd = field({ label: 'Initrd', control: h('input', { type: 'file' }) });
    const cmdline = field({
        label: 'Kernel command line',
        pointer: '/cmdline',
        control: h('input', { type: 'text', value: 'console=ttyS0', autocomplete: 'off' }),
    });
    const description = field({
        label: 'Description',
        pointer: '/description',
        control: h('input', { type: 'text', maxlength: 1024, autocomplete: 'off' }),
    });
    const all = [name, kind, format, content, initrd, cmdline, description];
    const trouble = h('div', { role: 'alert' });

    function arrange() {
        setHidden(format.root, kind.control.value !== 'disk');
        const kernel = kind.control.value === 'kernel';
        setHidden(initrd.root, !kernel);
        setHidden(cmdline.root, !kernel);
    }

    /* What a file is called says what it probably is. */
    function guess() {
        const file = content.control.files[0];
        if (!file) {
            return;
        }
        const low = file.name.toLowerCase();
        if (low.endsWith('.iso')) {
            kind.control.value = 'iso';
        } else if (/vmlinuz|bzimage/.test(low)) {
            kind.control.value = 'kernel';
        } else {
            kind.control.value = 'disk';
            const ending = /\.(vmdk|vdi|vhdx)$/.exec(low)?.[1];
            format.control.value = ending ?? (/\.(raw|img)$/.test(low) ? 'raw' : 'qcow2');
        }
        if (!name.control.value) {
            name.control.value = low
                .replace(/\.[a-z0-9]+$/, '')
                .replace(/[^a-z0-9]+/g, '-')
                .replace(/^-+|-+$/g, '')
                .slice(0, 63);
        }
        arrange();
    }

    async function create(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        const chosen = kind.control.value;
        const wish = { name: name.control.value.trim(), kind: chosen };
        if (chosen === 'disk') {
            const foreign = !['qcow2', 'raw'].includes(format.control.value);
            wish.format = foreign ? 'qcow2' : format.control.value;
            if (foreign) {
                wish.source = { format: format.control.value };
            }
        }
        if (chosen === 'kernel' && cmdline.control.value.trim()) {
            wish.cmdline = cmdline.control.value.trim();
        }
        if (description.control.value.trim()) {
            wish.description = description.control.value.trim();
        }
        const picked = [content.control.files[0], initrd.control.files[0]];
        try {
            const image = await post('/v1/images', wish);
            const files = Object.fromEntries(
                PARTS[chosen].map((part, at) => [part, picked[at]]).filter(([, file]) => file),
            );
            await load();
            form.reset();
            arrange();
            await send(image, files);
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        }
    }

    content.control.addEventListener('change', guess);
    kind.control.addEventListener('change', arrange);
    const form = h(
        'form',
        { class: 'panel form', onsubmit: create },
        h('h2', null, 'Upload an image'),
        h(
            'div',
            { class: 'form-grid' },
            all.map((f) => f.root),
        ),
        trouble,
        h(
            'div',
            { class: 'form-end' },
            h('button', { type: 'submit', class: 'button primary' }, 'Upload'),
        ),
    );
    arrange();
    return form;
}
