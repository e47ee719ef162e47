/* Runs a shell line in a guest: its output as it comes, something to type to it, a way to kill it. */
import { del, get, post } from './api.js';
import { confirm } from './dialog.js';
import { h, setHidden, setText } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { bytes, span, time } from './format.js';
import { announce, problemBody, showProblem } from './notify.js';
import { Program } from './program.js';

const RESULTS_KEPT = 5;
const MOST_SHOWN = 256 * 1024; /* characters of each output; the oldest go first */
const LIMITS = [
    ['60', 'a minute'],
    ['600', 'ten minutes'],
    ['3600', 'an hour'],
];
const NAMES = { 1: 'stdout', 2: 'stderr' };

export function runner({ vm, signal }) {
    const path = `/v1/vms/${encodeURIComponent(vm.id)}/exec`;
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
    const limit = h(
        'select',
        { 'aria-label': 'For at most' },
        LIMITS.map(([value, words]) => h('option', { value }, `at most ${words}`)),
    );
    const trouble = h('div', { role: 'alert' });
    const results = h('div', { class: 'results', role: 'log' });
    const button = h('button', { type: 'submit', class: 'button' }, 'Run');

    async function run(event) {
        event.preventDefault();
        clearMarks([command], trouble);
        button.disabled = true;
        const text = command.control.value;
        try {
            const made = await post(path, {
                argv: ['/bin/sh', '-c', text],
                stream: true,
                timeout_seconds: Number(limit.value),
            });
            follow(made);
            command.control.select();
        } catch (problem) {
            showFormProblem([command], trouble, problem);
        } finally {
            button.disabled = false;
        }
    }

    function follow(exec) {
        results.prepend(programCard(vm, exec, signal));
        while (results.children.length > RESULTS_KEPT) {
            results.lastElementChild.dispatchEvent(new Event('dropped'));
            results.lastElementChild.remove();
        }
    }

    /*
     * Programs that somebody began and that still run: of another page, or before a reload. One whose
     * output somebody else reads, or nobody can, is only named: it can be killed.
     */
    get(path, { signal }).then(
        ({ items }) =>
            items
                .filter((exec) => exec.state === 'running')
                .slice(0, RESULTS_KEPT)
                .forEach((exec) =>
                    exec.stream && !exec.attached
                        ? follow(exec)
                        : results.append(otherProgram(path, exec)),
                ),
        () => {},
    );

    return h(
        'form',
        { onsubmit: run },
        h('div', { class: 'line-form' }, command.root, limit, button),
        trouble,
        results,
    );
}

function otherProgram(path, exec) {
    const command = exec.argv.join(' ');
    const kill = h(
        'button',
        {
            type: 'button',
            class: 'button small danger',
            'aria-label': `Kill ${command}`,
            onclick: end,
        },
        'Kill',
    );
    const words = h('span', null, `Runs since ${time(exec.created_at)}; its output is read elsewhere.`);
    const root = h(
        'section',
        { class: 'program', 'data-exec': exec.id },
        h('p', { class: 'help' }, h('code', null, command), ' · ', words, ' ', kill),
    );

    async function end() {
        const yes = await confirm({
            title: 'Kill this program?',
            body: `${command}: what it has not written is lost, also for who reads its output.`,
            action: 'Kill',
            danger: true,
        });
        if (!yes) {
            return;
        }
        try {
            await del(`${path}/${encodeURIComponent(exec.id)}`);
            kill.remove();
            setText(words, 'was killed');
            announce(`${command} was killed`);
        } catch (problem) {
            showProblem(`Killing ${command} did not work`, problem);
        }
    }

    return root;
}

function programCard(vm, exec, signal) {
    const program = new Program(vm.id, exec.id);
    const words = h('span', { role: 'status' }, 'Running …');
    const kill = h(
        'button',
        { type: 'button', class: 'button small danger', onclick: () => program.kill() },
        'Kill',
    );
    const line = h('input', {
        type: 'text',
        'aria-label': 'Type to the program',
        placeholder: 'Type to the program',
        autocomplete: 'off',
        spellcheck: 'false',
        onkeydown(event) {
            if (event.key === 'Enter') {
                event.preventDefault(); /* of the form around it */
                program.send(`${line.value}\n`);
                line.value = '';
            }
        },
    });
    const finish = h(
        'button',
        { type: 'button', class: 'button small', onclick: () => program.eof() },
        'End of input',
    );
    const typing = h('div', { class: 'line-form program-input' }, line, finish, kill);
    const outputs = { 1: outputBox('stdout'), 2: outputBox('stderr') };
    const trouble = h('div', { role: 'alert' });
    const root = h(
        'section',
        { class: 'program' },
        h('p', { class: 'help' }, h('code', null, exec.argv.at(-1)), ' · ', words),
        outputs[1].root,
        outputs[2].root,
        typing,
        trouble,
    );
    program.on('output', (stream, data) => outputs[stream].add(data));
    program.on('gap', (stream, lost) =>
        outputs[stream].say(`\n… ${bytes(lost)} are no longer kept …\n`),
    );
    program.on('status', (now) => setText(words, now || 'Running …'));
    program.on('exit', (end) => {
        setHidden(typing, true);
        Object.values(outputs).forEach((output) => output.end());
        const problem = end.problem && { title: end.problem.code, ...end.problem };
        const took = typeof end.duration_ms === 'number' ? ` after ${span(end.duration_ms)}` : '';
        setText(words, problem ? 'It is not followed any more' : `${ending(end)}${took}`);
        if (problem) {
            trouble.append(h('div', { class: 'notice notice-bad' }, problemBody(problem)));
        } else if (end.cut) {
            outputs[1].say('… (cut)');
        }
        announce(words.textContent);
    });
    signal.addEventListener('abort', () => program.close());
    root.addEventListener('dropped', () => program.close());
    program.connect();
    return root;
}

function ending(end) {
    if (end.timed_out) {
        return 'It took too long and was killed';
    }
    return typeof end.signal === 'number'
        ? `Signal ${end.signal} ended it`
        : `It ended with ${end.exit_code}`;
}

/* Text only, however long: what is older than the limit goes. */
function outputBox(name) {
    const code = h('code');
    const root = h(
        'pre',
        { class: `code ${name}`, tabindex: '0', 'aria-label': name, hidden: true },
        code,
    );
    const decoder = new TextDecoder();
    let text = '';
    let planned = false;

    function say(more) {
        if (!more) {
            return;
        }
        text += more;
        if (text.length > MOST_SHOWN) {
            text = `… ${text.slice(-MOST_SHOWN)}`;
        }
        if (!planned) {
            planned = true;
            setTimeout(draw, 30); /* many small frames are one drawing */
        }
    }

    function draw() {
        planned = false;
        const atEnd = root.scrollTop + root.clientHeight >= root.scrollHeight - 8;
        setText(code, text);
        setHidden(root, false);
        if (atEnd) {
            root.scrollTop = root.scrollHeight;
        }
    }

    return {
        root,
        say,
        add: (data) => say(decoder.decode(data, { stream: true })),
        /* All of it is there before anybody is told that it is over. */
        end() {
            say(decoder.decode());
            if (text) {
                draw();
            }
        },
    };
}
