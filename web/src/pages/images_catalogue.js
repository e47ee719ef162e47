/* What catalogues offer: a picture, some words, and one button that runs it. */
import { listAll, post } from '../lib/api.js';
import { h, icon, replace, setHidden } from '../lib/dom.js';
import { bytes } from '../lib/format.js';
import { here } from '../lib/place.js';
import { announce, showProblem } from '../lib/notify.js';
import { reloader } from '../lib/reload.js';

export async function catalogue({ session, signal }) {
    const mayRun = session.can('vm:write') && session.can('image:write');
    const list = h('ul', { class: 'cards' });
    const root = h('section', { 'aria-labelledby': 'catalogue' }, h('h2', { id: 'catalogue' }, 'Catalogue'), list);
    const trouble = h('div', { role: 'alert' });
    const load = reloader(
        async () => {
            const entries = await listAll('/v1/catalogue', { signal });
            replace(list, entries.map(card));
            setHidden(root, entries.length === 0);
        },
        { trouble, signal },
    );

    function card(entry) {
        const id = `${entry.catalogue}:${entry.name}`;
        const title = entry.title || entry.name;
        const facts = [
            [entry.kind, entry.format].filter(Boolean).join(', '),
            entry.architecture,
            entry.size_bytes ? `${bytes(entry.size_bytes)} to fetch` : null,
            `from ${entry.catalogue}`,
        ].filter(Boolean);
        return h(
            'li',
            { class: 'panel card', 'data-entry': id },
            entry.has_screenshot &&
                h('img', {
                    class: 'card-picture',
                    src: here(`/v1/catalogue/${encodeURIComponent(id)}/screenshot`),
                    alt: `${title}, as it looks`,
                    loading: 'lazy',
                }),
            h('div', { class: 'vm-title' }, h('strong', null, title)),
            entry.description && h('p', null, entry.description),
            entry.notes && h('p', { class: 'help' }, entry.notes),
            h('p', { class: 'help' }, facts.join(' · ')),
            mayRun && h('div', { class: 'button-row' }, runButton(id, title)),
        );
    }

    function runButton(id, title) {
        const button = h(
            'button',
            { type: 'button', class: 'button small primary', 'aria-label': `Run ${title}`, onclick: run },
            icon('plus'),
            'Run',
        );
        async function run() {
            button.disabled = true;
            try {
                const vm = await post(`/v1/catalogue/${encodeURIComponent(id)}/run`, {});
                announce(`${vm.name} starts as soon as its image is here`);
                location.hash = `#/vms/${encodeURIComponent(vm.name)}`;
            } catch (problem) {
                button.disabled = false;
                showProblem(`Running ${title} did not work`, problem);
            }
        }
        return button;
    }

    setHidden(root, true);
    await load();
    return { root: [trouble, root], load };
}
