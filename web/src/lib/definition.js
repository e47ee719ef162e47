/*
 * The definition of a VM as JSON: to read, to copy, to edit. What is edited is shown as a list of
 * changes before it is sent, and it is sent with If-Match: a change made meanwhile is not run over.
 */
import { get, request } from './api.js';
import { copyButton } from './clipboard.js';
import { curlPatch } from './commands.js';
import { h, replace, setHidden, setText } from './dom.js';
import { field } from './forms.js';
import { applyPatch, changesOf, mergePatch, same } from './mergepatch.js';
import { announce, problemBody, showNote } from './notify.js';
import { scroll, titleRow } from './table.js';

/* What PATCH takes; the rest of an answer is what became of it. */
const MEMBERS = [
    'name',
    'description',
    'labels',
    'cpus',
    'memory_mib',
    'machine',
    'firmware',
    'acceleration',
    'image',
    'cmdline',
    'root_disk_gib',
    'disks',
    'networks',
    'channels',
    'serial_ports',
    'ready_pattern',
    'guest_agent',
    'vsock',
    'display',
    'memory_merge',
    'autostart',
    'on_host_shutdown',
    'host_shutdown_seconds',
    'record_console',
    'ssh_keys',
    'cloud_init',
];
const CONFLICT = 'precondition-failed';

const definitionOf = (vm) =>
    Object.fromEntries(MEMBERS.filter((m) => m in vm).map((m) => [m, vm[m]]));
const asText = (value) => JSON.stringify(value, null, 2);

export function definitionPanel({ vm: first, herd, session, signal }) {
    let vm = first;
    let base = null; /* {definition, etag}: what the editing began with */
    const code = h('code');
    const whole = h('code');
    const area = h('textarea', {
        rows: 18,
        class: 'editor',
        spellcheck: 'false',
        autocomplete: 'off',
        autocapitalize: 'none',
        oninput: forget,
    });
    const text = field({
        label: 'Definition as JSON',
        help: 'Members that are taken out go back to their defaults.',
        control: area,
    });
    const edit = button('Edit', begin);
    const userData = button('User data …', async () =>
        (await import('./inner.js')).userDataSheet({ vm, herd }),
    );
    const preview = button('Preview changes', showChanges, 'primary');
    const cancel = button('Cancel', end);
    const meanwhile = h('div', { role: 'status' });
    const outcome = h('div', { role: 'alert' });
    const reading = h(
        'div',
        null,
        h('pre', { class: 'code', tabindex: '0', 'aria-label': 'Definition as JSON' }, code),
        h(
            'details',
            { class: 'fold' },
            h('summary', null, 'All that is known of it'),
            h('pre', { class: 'code', tabindex: '0', 'aria-label': 'The whole answer' }, whole),
        ),
    );
    const writing = h(
        'form',
        {
            hidden: true,
            onsubmit: (event) => event.preventDefault(),
        },
        text.root,
        meanwhile,
        h('div', { class: 'form-end' }, cancel, preview),
        outcome,
    );
    const root = h(
        'section',
        { class: 'panel', 'aria-label': 'Definition' },
        h(
            'div',
            { class: 'panel-head' },
            h('h2', null, 'Definition'),
            h(
                'span',
                { class: 'button-row' },
                session.can('vm:write') && [edit, userData],
                copyButton(code, 'the definition'),
            ),
        ),
        reading,
        writing,
    );

    function show(now) {
        vm = now;
        setText(code, asText(definitionOf(vm)));
        setText(whole, asText(vm));
        if (base && vm.etag !== base.etag) {
            replace(
                meanwhile,
                h(
                    'p',
                    { class: 'notice' },
                    'The definition was changed elsewhere since you began. What you send is held against ' +
                        'the new one first.',
                ),
            );
        }
    }

    function begin() {
        base = { definition: definitionOf(vm), etag: vm.etag };
        area.value = asText(base.definition);
        open(true);
        area.focus();
        area.setSelectionRange(0, 0);
    }

    function end() {
        base = null;
        open(false);
        edit.focus();
    }

    function open(on) {
        setHidden(writing, !on);
        setHidden(reading, on);
        setHidden(edit, on);
        forget();
        replace(meanwhile);
    }

    /* What was previewed is not what is typed any more. */
    function forget() {
        text.mark('');
        replace(outcome);
    }

    function read() {
        try {
            const wanted = JSON.parse(area.value);
            if (wanted && typeof wanted === 'object' && !Array.isArray(wanted)) {
                return wanted;
            }
            text.mark('A definition is an object: it begins with { and ends with }.');
        } catch (error) {
            text.mark(`This is no JSON: ${whereOf(error, area)}`);
        }
        area.focus();
        return null;
    }

    function showChanges() {
        forget();
        const wanted = read();
        if (!wanted) {
            return;
        }
        const patch = mergePatch(base.definition, wanted);
        const changes = changesOf(base.definition, patch);
        if (changes.length === 0) {
            replace(outcome, h('p', { class: 'notice' }, 'Nothing is changed yet.'));
            return;
        }
        const save = button('Save', () => send(patch, save), 'primary');
        const line = h('code', null, curlPatch(vm, base.etag, patch));
        replace(
            outcome,
            h(
                'section',
                { class: 'changes', 'aria-label': 'Changes' },
                h('h3', null, 'What changes'),
                changeTable(changes),
                ['running', 'paused'].includes(vm.state) &&
                    h(
                        'p',
                        { class: 'help' },
                        'What a running machine cannot take over waits until it is shut down and started.',
                    ),
                h('div', { class: 'form-end' }, save),
                h(
                    'details',
                    { class: 'fold' },
                    h('summary', null, 'The same with curl'),
                    h('pre', { class: 'code', tabindex: '0', 'aria-label': 'curl command' }, line),
                    copyButton(line, 'the curl command'),
                ),
            ),
        );
        save.focus();
        announce(`${changes.length} changes`);
    }

    async function send(patch, save) {
        save.disabled = true;
        try {
            const now = await request('PATCH', `/v1/vms/${encodeURIComponent(vm.id)}`, {
                body: patch,
                headers: { 'If-Match': `"${base.etag}"` },
            });
            herd.put(now);
            show(now);
            end();
            showNote(
                now.pending_changes
                    ? `Saved. ${now.name} takes it over when it is shut down and started`
                    : 'Saved',
            );
            if (now.name !== first.name) {
                location.hash = `#/vms/${encodeURIComponent(now.name)}`;
            }
        } catch (problem) {
            save.disabled = false;
            if (problem.code === CONFLICT) {
                await explain(patch);
            } else if (problem.name !== 'AbortError') {
                refuse(problem);
            }
        }
    }

    function refuse(problem) {
        replace(outcome, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
        const [, member] = (problem.pointer ?? '').split('/');
        const at = member ? area.value.indexOf(`"${member}"`) : -1;
        text.mark(member ? `${member}: ${problem.detail || problem.title}` : problem.title);
        area.focus();
        if (at >= 0) {
            area.setSelectionRange(at, at + member.length + 2);
        }
    }

    /* Somebody was quicker: what they did, what you want, and where the two meet. */
    async function explain(mine) {
        let now;
        try {
            now = await get(`/v1/vms/${encodeURIComponent(vm.id)}`, { signal });
        } catch (problem) {
            refuse(problem);
            return;
        }
        herd.put(now);
        show(now);
        const theirs = mergePatch(base.definition, definitionOf(now));
        const wanted = new Map(changesOf(base.definition, mine).map(([at, , to]) => [at, to]));
        const found = changesOf(base.definition, theirs);
        const both = found.filter(([at, , to]) => wanted.has(at) && !same(wanted.get(at), to));
        const rebase = button(
            'Put my changes on the new definition',
            () => {
                const merged = applyPatch(definitionOf(now), mine);
                base = { definition: definitionOf(now), etag: now.etag };
                area.value = asText(merged);
                replace(meanwhile);
                showChanges();
            },
            'primary',
        );
        const restart = button('Throw mine away', () => {
            base = { definition: definitionOf(now), etag: now.etag };
            area.value = asText(base.definition);
            replace(meanwhile);
            forget();
            area.focus();
        });
        replace(
            outcome,
            h(
                'section',
                { class: 'notice notice-bad', 'aria-label': 'Conflict' },
                h('p', { class: 'problem-title' }, 'Somebody changed it meanwhile'),
                h('p', null, 'Nothing of yours was saved, and nothing is lost. They changed:'),
                changeTable(found),
                both.length > 0 &&
                    h(
                        'p',
                        null,
                        h('strong', null, 'You both changed: '),
                        both.map(([at]) => at.slice(1)).join(', '),
                        '. Yours would replace theirs.',
                    ),
                h('div', { class: 'button-row' }, rebase, restart),
            ),
        );
        rebase.focus();
    }

    show(vm);
    return { root, show };
}

function changeTable(changes) {
    const shown = (value) =>
        value === undefined
            ? h('span', { class: 'help' }, 'default')
            : h('code', null, JSON.stringify(value));
    return scroll(
        'List of changes',
        h(
            'table',
            { class: 'change-table' },
            titleRow(['Member', 'Now', 'Then']),
            h(
                'tbody',
                null,
                changes.map(([at, before, after]) =>
                    h(
                        'tr',
                        null,
                        h('th', { scope: 'row' }, at.slice(1)),
                        h('td', { class: 'why' }, h('del', null, shown(before))),
                        h('td', { class: 'why' }, h('ins', null, shown(after))),
                    ),
                ),
            ),
        ),
    );
}

/* Browsers say it differently; where a position is told, the line is worth more. */
function whereOf(error, area) {
    const at = /position (\d+)/.exec(error.message)?.[1];
    if (at === undefined) {
        return error.message;
    }
    const line = area.value.slice(0, Number(at)).split('\n').length;
    area.setSelectionRange(Number(at), Number(at) + 1);
    return `line ${line}: ${error.message}`;
}

function button(words, onclick, kind = '') {
    return h('button', { type: 'button', class: `button ${kind}`.trim(), onclick }, words);
}
