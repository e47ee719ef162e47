/* Where catalogues come from: signed indexes, added with their key, read again, forgotten. */
import { del, listAll, post } from '../lib/api.js';
import { confirm, formSheet } from '../lib/dialog.js';
import { h, setHidden } from '../lib/dom.js';
import { field } from '../lib/forms.js';
import { count, plural, time } from '../lib/format.js';
import { nameField, select, textInput } from '../lib/inputs.js';
import { announce, showProblem } from '../lib/notify.js';
import { redraw, reloader } from '../lib/reload.js';

const pathOf = (source) => `/v1/catalogue-sources/${encodeURIComponent(source.name)}`;

/* onChange(): other entries are offered now. Only for who may write images. */
export async function sourceSection({ signal, onChange }) {
    const list = h('ul', { class: 'rows' });
    const trouble = h('div', { role: 'alert' });
    const blank = h(
        'p',
        { class: 'help' },
        'None yet. A source is a signed list of images at an address; what it offers appears under “Catalogue”.',
    );
    const load = reloader(
        async () => {
            const sources = await listAll('/v1/catalogue-sources', { signal });
            redraw(list, sources.map(row));
            setHidden(blank, sources.length > 0);
        },
        { trouble, signal },
    );

    function row(source) {
        return h(
            'li',
            { 'data-source': source.name },
            h('span', { class: 'row-what' }, h('strong', null, source.name), ' ', source.url),
            h(
                'span',
                { class: 'help' },
                `${plural(source.entries, 'entry', 'entries')} · ${source.kind} · read ${time(source.refreshed_at)}`,
            ),
            h(
                'span',
                { class: 'button-row' },
                act('Refresh', source, () => refresh(source)),
                act('Delete', source, () => remove(source), 'danger'),
            ),
        );
    }

    async function refresh(source) {
        announce(`Reading ${source.name} again`);
        try {
            const now = await post(`${pathOf(source)}/refresh`);
            announce(`${source.name}: ${count(now.entries)} entries`);
        } catch (problem) {
            showProblem(`Reading ${source.name} again did not work`, problem);
        }
        await Promise.all([load(), onChange()]);
    }

    async function remove(source) {
        const yes = await confirm({
            title: `Delete the source ${source.name}?`,
            action: 'Delete',
            danger: true,
            body: `${plural(source.entries, 'entry is', 'entries are')} offered no longer, and its key is forgotten. Images that came from it stay.`,
        });
        if (!yes) {
            return;
        }
        try {
            await del(pathOf(source));
            announce(`${source.name} was deleted`);
        } catch (problem) {
            showProblem(`Deleting ${source.name} did not work`, problem);
        }
        await Promise.all([load(), onChange()]);
    }

    async function add() {
        const name = nameField();
        const url = field({
            label: 'Address of the index',
            pointer: '/url',
            control: textInput({
                type: 'url',
                required: true,
                maxlength: 2048,
                placeholder: 'https://',
            }),
        });
        const kind = field({
            label: 'Made by',
            pointer: '/kind',
            control: select(
                [
                    ['drover', 'drover catalogue build'],
                    ['virt-builder', 'virt-builder (index.asc)'],
                ],
                'drover',
            ),
        });
        const key = field({
            label: 'Public key',
            pointer: '/key',
            help: 'As its makers publish it: Ed25519 in base64, or an OpenPGP key for virt-builder. Only what it signed is believed.',
            control: h('textarea', {
                rows: 3,
                required: true,
                maxlength: 32768,
                spellcheck: 'false',
                autocomplete: 'off',
            }),
        });
        let made = null;
        const sent = await formSheet({
            title: 'Add a catalogue source',
            body: h('p', { class: 'help' }, 'One of the same name is replaced.'),
            fields: [name, url, kind, key],
            action: 'Add',
            async send() {
                made = await post('/v1/catalogue-sources', {
                    name: name.control.value.trim(),
                    url: url.control.value.trim(),
                    kind: kind.control.value,
                    key: key.control.value.trim(),
                });
            },
        });
        if (sent) {
            announce(`${made.name} was added: ${count(made.entries)} entries`);
            await Promise.all([load(), onChange()]);
        }
    }

    await load();
    return h(
        'section',
        { class: 'panel', 'aria-labelledby': 'catalogue-sources' },
        h(
            'div',
            { class: 'panel-head' },
            h('h2', { id: 'catalogue-sources' }, 'Catalogue sources'),
            h('button', { type: 'button', class: 'button small', onclick: add }, 'Add a source'),
        ),
        trouble,
        list,
        blank,
    );
}

function act(text, source, onclick, extra = '') {
    return h(
        'button',
        {
            type: 'button',
            class: `button small ${extra}`,
            'aria-label': `${text} the source ${source.name}`,
            onclick,
        },
        text,
    );
}
