/* Labels: names of images that move. Made, moved, deleted; each move is a version. */
import { del, request } from '../lib/api.js';
import { confirm, formSheet } from '../lib/dialog.js';
import { h, setHidden } from '../lib/dom.js';
import { field } from '../lib/forms.js';
import { plural, time } from '../lib/format.js';
import { nameField, select } from '../lib/inputs.js';
import { announce, showProblem } from '../lib/notify.js';
import { redraw } from '../lib/reload.js';

const pathOf = (name) => `/v1/image-labels/${encodeURIComponent(name)}`;

/* label: the one to move; null: a new one. image: the name that is chosen first. */
export async function askLabel({ label = null, image = null, images, onSaved }) {
    const ready = images.filter((i) => i.state === 'ready').map((i) => [i.name, i.name]);
    const name = nameField({ label: 'Label' });
    const target = field({
        label: 'It points at',
        pointer: '/image',
        control: select(ready, label?.image_name ?? image ?? ready[0]?.[0]),
    });
    const keep = field({
        label: 'Versions that stay',
        pointer: '/keep',
        help: 'Images of older ones that no other label knows are deleted. 0: all stay.',
        control: h('input', {
            type: 'number',
            min: 0,
            step: 1,
            required: true,
            inputmode: 'numeric',
            value: String(label?.keep ?? 0),
        }),
    });
    if (label) {
        name.control.value = label.name;
        name.control.readOnly = true;
    }
    let made = null;
    const sent = await formSheet({
        title: label ? `Move ${label.name}` : 'A label',
        body: h(
            'p',
            { class: 'help' },
            'A label is used like an image’s name. Machines made from it start from the image that it points at then.',
        ),
        fields: [name, target, keep],
        action: label ? 'Move' : 'Set the label',
        async send() {
            made = await request('PUT', pathOf(name.control.value.trim()), {
                body: { image: target.control.value, keep: Number(keep.control.value) },
            });
        },
    });
    if (sent) {
        announce(`${made.name} points at ${made.image_name}`);
        await onSaved();
    }
}

/* Answers {root, show(labels, images)}. */
export function labelSection({ mayWrite, onSaved }) {
    let images = [];
    const list = h('ul', { class: 'rows' });
    const blank = h('p', { class: 'help' }, 'No labels yet.');
    const root = h(
        'section',
        { class: 'panel', 'aria-labelledby': 'image-labels' },
        h(
            'div',
            { class: 'panel-head' },
            h('h2', { id: 'image-labels' }, 'Labels'),
            mayWrite &&
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'button small',
                        onclick: () => askLabel({ images, onSaved }),
                    },
                    'New label',
                ),
        ),
        list,
        blank,
    );

    function row(label) {
        const older = label.versions.slice(1);
        return h(
            'li',
            { 'data-label': label.name },
            h(
                'span',
                { class: 'row-what' },
                h('strong', null, label.name),
                ` → ${label.image_name ?? 'an image that is gone'}`,
            ),
            h(
                'span',
                { class: 'help' },
                [
                    `version ${label.version} since ${time(label.created_at)}`,
                    label.keep ? `${plural(label.keep, 'version')} stay` : 'all versions stay',
                    older.length > 0 &&
                        `before: ${older.map((v) => `${v.version} ${v.image_name ?? 'gone'}`).join(', ')}`,
                ]
                    .filter(Boolean)
                    .join(' · '),
            ),
            mayWrite &&
                h(
                    'span',
                    { class: 'button-row' },
                    act('Move', label, () => askLabel({ label, images, onSaved })),
                    act('Delete', label, () => remove(label), 'danger'),
                ),
        );
    }

    async function remove(label) {
        const yes = await confirm({
            title: `Delete the label ${label.name}?`,
            action: 'Delete',
            danger: true,
            body: 'Its images stay. What asks for an image by this name finds none any more, and its versions are forgotten.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(pathOf(label.name));
            announce(`The label ${label.name} was deleted`);
        } catch (problem) {
            showProblem(`Deleting the label ${label.name} did not work`, problem);
        }
        await onSaved();
    }

    return {
        root,
        show(labels, now) {
            images = now;
            redraw(list, labels.map(row));
            setHidden(blank, labels.length > 0);
            setHidden(root, labels.length === 0 && !mayWrite);
        },
    };
}

function act(text, label, onclick, extra = '') {
    return h(
        'button',
        {
            type: 'button',
            class: `button small ${extra}`,
            'aria-label': `${text} the label ${label.name}`,
            onclick,
        },
        text,
    );
}
