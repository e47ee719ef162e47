/* Share links: who has the link sees one console of one VM and nothing else. Loaded on demand. */
import { del, listAll, post } from './api.js';
import { copyButton } from './clipboard.js';
import { confirm, sheet } from './dialog.js';
import { h, replace, setHidden } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { time } from './format.js';
import { announce, problemBody, showProblem } from './notify.js';
import { streamHref, streamTitle } from './streams.js';

const LIFETIMES = [
    ['600', '10 minutes'],
    ['3600', 'one hour'],
    ['28800', '8 hours'],
    ['86400', 'one day'],
    ['604800', '7 days'],
];

export function shareDialog({ vm, stream, session }) {
    const stop = new AbortController();
    const mayControl = session.can('console:control');
    const modes = [
        ...(stream.startsWith('vsock/') ? [] : [['view', 'only watch']]),
        ...(mayControl ? [['control', 'watch and type']] : []),
    ];
    const fields = {
        mode: field({
            label: 'Who has the link may',
            pointer: '/mode',
            control: select(modes),
        }),
        uses: field({
            label: 'It works',
            pointer: '/single_use',
            control: select([
                ['many', 'until it expires'],
                ['once', 'once'],
            ]),
        }),
        life: field({
            label: 'It expires after',
            pointer: '/expires_in_seconds',
            control: select(LIFETIMES, '3600'),
        }),
        name: field({
            label: 'For whom (optional)',
            pointer: '/name',
            help: 'Shown in lists and to the others who look.',
            control: h('input', { type: 'text', maxlength: 63, autocomplete: 'off' }),
        }),
    };
    const all = Object.values(fields);
    const trouble = h('div', { role: 'alert' });
    const result = h('div', { role: 'status' });
    const links = linkList({ vmId: vm.id, signal: stop.signal });
    const value = (name) => fields[name].control.value;

    async function make(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        try {
            const wish = {
                vm: vm.id,
                stream,
                mode: value('mode'),
                single_use: value('uses') === 'once',
                expires_in_seconds: Number(value('life')),
            };
            if (value('name').trim()) {
                wish.name = value('name').trim();
            }
            const made = await post('/v1/tickets', wish);
            const link = h('code', { class: 'secret', tabindex: '0' }, made.link);
            const copy = copyButton(link, 'the link');
            replace(
                result,
                h(
                    'div',
                    { class: 'notice notice-good' },
                    h('p', null, link),
                    h(
                        'p',
                        { class: 'help' },
                        `Works ${made.single_use ? 'once, ' : ''}until ${time(made.expires_at)}. It is shown this once.`,
                    ),
                    copy,
                ),
            );
            copy.focus();
            await links.load();
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        }
    }

    links.load();
    sheet({
        title: `Share: ${streamTitle(stream)} of ${vm.name}`,
        body: [
            h(
                'form',
                { onsubmit: make, class: 'form' },
                h(
                    'div',
                    { class: 'form-grid' },
                    all.map((f) => f.root),
                ),
                trouble,
                h(
                    'div',
                    { class: 'form-end' },
                    h('button', { type: 'submit', class: 'button primary' }, 'Make the link'),
                ),
            ),
            result,
            links.root,
        ],
        closed: () => stop.abort(),
    });
}

/* The links that work; vmId null: those of every machine. */
export function linkList({ vmId = null, signal }) {
    const list = h('ul', { class: 'rows' });
    const blank = h('p', { class: 'help' }, 'No link works at present.');
    const trouble = h('div', { role: 'alert' });
    const root = h('section', null, h('h3', null, 'Links that work'), trouble, list, blank);

    async function load() {
        try {
            const query = vmId ? `?vm=${encodeURIComponent(vmId)}` : '';
            const items = await listAll(`/v1/tickets${query}`, { signal });
            show(items.filter((ticket) => !(ticket.single_use && ticket.last_used_at)));
            replace(trouble);
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
            }
        }
    }

    function show(items) {
        setHidden(blank, items.length > 0);
        replace(
            list,
            items.map((ticket) =>
                h(
                    'li',
                    null,
                    h(
                        'span',
                        { class: 'row-what' },
                        h('strong', null, ticket.name || 'without a name'),
                        ' ',
                        vmId ? streamTitle(ticket.stream) : streamLink(ticket),
                    ),
                    h('span', { class: 'help' }, facts(ticket)),
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'button small danger',
                            'aria-label': `Revoke the link ${ticket.name || ticket.id}`,
                            onclick: () => revoke(ticket),
                        },
                        'Revoke',
                    ),
                ),
            ),
        );
    }

    async function revoke(ticket) {
        const yes = await confirm({
            title: `Revoke the link ${ticket.name ?? ''}?`,
            action: 'Revoke',
            danger: true,
            body: 'It stops working at once, and whoever looks by it now is shut out.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/tickets/${encodeURIComponent(ticket.id)}`);
            announce('The link was revoked');
        } catch (problem) {
            showProblem('Revoking the link did not work', problem);
        }
        await load();
    }

    return { root, load };
}

function streamLink(ticket) {
    const words = `${ticket.vm.name}, ${streamTitle(ticket.stream)}`;
    return h('a', { href: streamHref(ticket.vm.name, ticket.stream) }, words);
}

function facts(ticket) {
    return [
        ticket.mode === 'view' ? 'only watch' : 'watch and type',
        ticket.single_use ? 'once' : null,
        `until ${time(ticket.expires_at)}`,
        ticket.last_used_at ? `last used ${time(ticket.last_used_at)}` : 'not used yet',
    ]
        .filter(Boolean)
        .join(' · ');
}

function select(options, chosen) {
    return h(
        'select',
        null,
        options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)),
    );
}
