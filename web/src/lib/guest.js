/* What the guest agent tells and does: facts, a program, a file in or out. Loaded on demand. */
import { get, toProblem } from './api.js';
import { h, replace, setHidden, setText } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { bytes, time } from './format.js';
import { careRow } from './guestcare.js';
import { problemBody } from './notify.js';
import { here } from './place.js';
import { runner } from './runner.js';
import { upload } from './upload.js';

const STATES = {
    off: 'off',
    absent: 'does not answer',
    not_ready: 'is starting',
    ready: 'answers',
    degraded: 'answers now and then',
};

export function guestPanel({ vm, herd, session, signal }) {
    const path = `/v1/vms/${encodeURIComponent(vm.id)}`;
    const facts = h('dl', { class: 'facts' });
    const trouble = h('div', { role: 'alert' });
    const mayRun = session.can('vm:exec');
    const tools = h(
        'div',
        { class: 'guest-tools' },
        careRow({ vm, session, signal }),
        mayRun && [runner({ vm, signal }), files(path)],
    );
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

    herd.follows((event) => event.subject?.id === vm.id, load, signal);
    load();
    return root;
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
            const response = await fetch(here(address()), { credentials: 'same-origin' });
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
