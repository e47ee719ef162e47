/* What the guest agent tells and does: facts, a program, a file in or out. Loaded on demand. */
import { get, post, toProblem } from './api.js';
import { h, replace, setHidden, setText } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { bytes, seconds, time } from './format.js';
import { announce, problemBody } from './notify.js';
import { upload } from './upload.js';

const STATES = {
    off: 'off',
    absent: 'does not answer',
    not_ready: 'is starting',
    ready: 'answers',
    degraded: 'answers now and then',
};
const RESULTS_KEPT = 5;

export function guestPanel({ vm, herd, session, signal }) {
    const path = `/v1/vms/${encodeURIComponent(vm.id)}`;
    const facts = h('dl', { class: 'facts' });
    const trouble = h('div', { role: 'alert' });
    const mayRun = session.can('vm:exec');
    const tools = h('div', { class: 'guest-tools' }, mayRun && [runner(path), files(path)]);
    const root = h(
        'section',
        { class: 'panel', 'aria-label': 'Inside the machine' },
        h('h2', null, 'Inside the machine'),
        trouble,
        facts,
        tools,
    );

    async function load() {
        try {
            const [agent, addresses] = await Promise.all([
                get(`${path}/agent`, { signal }),
                get(`${path}/addresses`, { signal }),
            ]);
            replace(trouble);
            show(agent, addresses.items);
        } catch (problem) {
            if (problem.name !== 'AbortError') {
                replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
                setHidden(tools, true);
            }
        }
    }

    function show(agent, addresses) {
        const rows = [
            [
                'Guest agent',
                [STATES[agent.state] ?? agent.state, agent.reason].filter(Boolean).join(': '),
            ],
            agent.os && ['System', [agent.os.name, agent.os.kernel].filter(Boolean).join(', ')],
            agent.hostname && ['Host name', agent.hostname],
            addresses.length > 0 && ['Addresses', addresses.map((a) => a.address).join(', ')],
            agent.users?.length > 0 && ['Signed in', agent.users.map((u) => u.name).join(', ')],
            ...(agent.filesystems ?? []).map((fs) => [
                fs.mountpoint,
                fs.total_bytes ? `${bytes(fs.used_bytes)} of ${bytes(fs.total_bytes)}` : fs.type,
            ]),
            agent.last_contact_at && ['Last answer', time(agent.last_contact_at)],
        ].filter(Boolean);
        replace(
            facts,
            rows.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
        );
        setHidden(tools, !['ready', 'degraded'].includes(agent.state));
    }

    herd.on('event', (event) => event.subject?.id === vm.id && load(), signal);
    load();
    return root;
}

function runner(path) {
    const command = field({
        label: 'Run in its shell',
        pointer: '/argv',
        control: h('input', {
            type: 'text',
            required: true,
            autocomplete: 'off',
            autocapitalize: 'none',
            spellcheck: 'false',
        }),
    });
    const trouble = h('div', { role: 'alert' });
    const results = h('div', { class: 'results', role: 'log' });
    const button = h('button', { type: 'submit', class: 'button' }, 'Run');

    async function run(event) {
        event.preventDefault();
        clearMarks([command], trouble);
        button.disabled = true;
        const text = command.control.value;
        try {
            const end = await post(`${path}/exec`, { argv: ['/bin/sh', '-c', text] });
            results.prepend(result(text, end));
            while (results.children.length > RESULTS_KEPT) {
                results.lastElementChild.remove();
            }
            announce(ending(end));
            command.control.select();
        } catch (problem) {
            showFormProblem([command], trouble, problem);
        } finally {
            button.disabled = false;
        }
    }

    return h(
        'form',
        { onsubmit: run },
        h('div', { class: 'line-form' }, command.root, button),
        trouble,
        results,
    );
}

function ending(end) {
    if (end.timed_out) {
        return 'It took too long and was killed';
    }
    return end.signal === null ? `It ended with ${end.exit_code}` : `Signal ${end.signal} ended it`;
}

function result(text, end) {
    const output = (name) => {
        const shown =
            end[`${name}_encoding`] === 'base64' ? 'not text; ask with the API' : end[name];
        return (
            shown &&
            h(
                'pre',
                { class: `code ${name}`, tabindex: '0', 'aria-label': name },
                h('code', null, shown),
                end[`${name}_truncated`] && ' … (cut)',
            )
        );
    };
    return h(
        'section',
        null,
        h(
            'p',
            { class: 'help' },
            h('code', null, text),
            ` · ${ending(end)} after ${seconds(end.duration_ms / 1000)}`,
        ),
        output('stdout'),
        output('stderr'),
    );
}

function files(path) {
    const where = field({
        label: 'File in the machine',
        pointer: '/path',
        control: h('input', {
            type: 'text',
            required: true,
            pattern: '/.*',
            placeholder: '/etc/hostname',
            autocomplete: 'off',
            autocapitalize: 'none',
            spellcheck: 'false',
        }),
    });
    const trouble = h('div', { role: 'alert' });
    const said = h('p', { class: 'help', role: 'status' });
    const pick = h('input', { type: 'file', hidden: true, onchange: put });
    const address = () => `${path}/files?path=${encodeURIComponent(where.control.value)}`;

    async function fetchIt(event) {
        event.preventDefault();
        clearMarks([where], trouble);
        setText(said, 'Reading …');
        try {
            const response = await fetch(address(), { credentials: 'same-origin' });
            if (!response.ok) {
                throw toProblem(response, await response.json().catch(() => undefined));
            }
            const blob = await response.blob();
            const url = URL.createObjectURL(blob);
            const name = where.control.value.split('/').pop() || 'file';
            h('a', { href: url, download: name }).click();
            setTimeout(() => URL.revokeObjectURL(url), 60000);
            setText(said, `${name}: ${bytes(blob.size)}`);
        } catch (problem) {
            setText(said, '');
            showFormProblem([where], trouble, problem);
        }
    }

    async function put() {
        const file = pick.files[0];
        clearMarks([where], trouble);
        if (!file || !form.reportValidity()) {
            return;
        }
        try {
            const onProgress = (sent, total) =>
                setText(said, `${bytes(sent)} of ${bytes(total)} sent`);
            await upload(address(), file, { onProgress });
            setText(said, `${where.control.value} is written: ${bytes(file.size)}`);
        } catch (problem) {
            setText(said, '');
            showFormProblem([where], trouble, problem);
        } finally {
            pick.value = '';
        }
    }

    const form = h(
        'form',
        { onsubmit: fetchIt },
        h(
            'div',
            { class: 'line-form' },
            where.root,
            h('button', { type: 'submit', class: 'button' }, 'Download'),
            h(
                'button',
                {
                    type: 'button',
                    class: 'button',
                    onclick: () => form.reportValidity() && pick.click(),
                },
                'Upload …',
            ),
            pick,
        ),
        said,
        trouble,
    );
    return form;
}
