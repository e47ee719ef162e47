/* What is done to many machines at once: asks once, says what is lost, tells how each one went. */
import { ACTIONS, allowed, isOn, operationProblem, send } from './actions.js';
import { confirm } from './dialog.js';
import { h, replace, setHidden, setText } from './dom.js';
import { plural } from './format.js';
import { announce, problemBody } from './notify.js';

const AT_ONCE = 6;
const NAMES_SHOWN = 12;
const VERBS = ['start', 'shutdown', 'pause', 'resume', 'save', 'stop', 'delete'];

/* picked: a set of ids that the page keeps; onClear: the reader is done with them. */
export function bulkBar({ herd, picked, onClear, signal }) {
    const words = h('strong', { role: 'status' });
    const buttons = new Map(
        VERBS.map((verb) => [
            verb,
            h(
                'button',
                {
                    type: 'button',
                    class: `button small${ACTIONS[verb].danger ? ' danger' : ''}`,
                    onclick: () => run(verb),
                },
                ACTIONS[verb].label,
            ),
        ]),
    );
    const clear = h(
        'button',
        { type: 'button', class: 'button small quiet', onclick: onClear },
        'Clear selection',
    );
    const tools = h('div', { class: 'button-row' }, [...buttons.values()], clear);
    const going = h('div', { class: 'bulk-going' });
    const root = h(
        'section',
        { class: 'bulk', 'aria-label': 'Selected machines', hidden: true },
        words,
        tools,
        going,
    );
    let busy = false;

    const chosen = () => [...picked].map((id) => herd.vms.get(id)).filter(Boolean);

    function show() {
        const vms = chosen();
        setHidden(root, vms.length === 0 && !going.firstChild);
        setText(words, vms.length ? `${plural(vms.length, 'machine')} selected` : '');
        setHidden(tools, vms.length === 0 || busy);
        for (const [verb, button] of buttons) {
            const count = vms.filter((vm) => allowed(vm, verb)).length;
            const label = ACTIONS[verb].label;
            setHidden(button, count === 0);
            setText(button, `${label} (${count})`);
            button.setAttribute('aria-label', `${label} ${plural(count, 'machine')}`);
        }
    }

    async function run(verb) {
        const vms = chosen().filter((vm) => allowed(vm, verb));
        const action = ACTIONS[verb];
        if (action.danger || verb === 'shutdown') {
            const yes = await confirm({
                title: `${action.label} ${plural(vms.length, 'machine')}?`,
                body: whatIsLost(verb, vms),
                action: `${action.label} ${plural(vms.length, 'machine')}`,
                danger: action.danger,
            });
            if (!yes) {
                return;
            }
        }
        busy = true;
        show();
        await work(verb, vms);
        busy = false;
        show();
    }

    async function work(verb, vms) {
        const action = ACTIONS[verb];
        const failed = [];
        const queue = [...vms];
        let done = 0;
        let stopped = false;
        const bar = h('progress', {
            max: vms.length,
            value: 0,
            'aria-label': `${action.doing} ${plural(vms.length, 'machine')}`,
        });
        const text = h('span', { class: 'help' });
        const stop = h(
            'button',
            {
                type: 'button',
                class: 'button small',
                onclick: () => {
                    stopped = true;
                    stop.disabled = true;
                },
            },
            'Leave the rest alone',
        );
        const tell = () => {
            bar.value = done;
            const bad = failed.length ? `, ${failed.length} did not work` : '';
            setText(text, `${action.doing}: ${done} of ${vms.length}${bad}`);
        };
        replace(going, h('div', { class: 'progress' }, bar, text, stop));
        tell();
        const worker = async () => {
            while (queue.length > 0 && !stopped && !signal.aborted) {
                const vm = queue.shift();
                try {
                    const end = await send(herd, vm, verb);
                    if (end && end.state !== 'succeeded') {
                        failed.push([vm, operationProblem(end)]);
                    } else if (verb === 'delete') {
                        picked.delete(vm.id);
                    }
                } catch (problem) {
                    if (problem.name !== 'AbortError') {
                        failed.push([vm, problem]);
                    }
                }
                done += 1;
                tell();
            }
        };
        await Promise.all(Array.from({ length: AT_ONCE }, worker));
        replace(going, result(action, vms.length, done, failed));
        const left = vms.length - done;
        announce(
            `${action.label}: ${done - failed.length} done, ${failed.length} did not work` +
                (left ? `, ${left} left alone` : ''),
        );
    }

    function result(action, all, done, failed) {
        const good = done - failed.length;
        const dismiss = h(
            'button',
            {
                type: 'button',
                class: 'button small',
                onclick() {
                    replace(going);
                    show();
                },
            },
            'Dismiss',
        );
        const left = all - done ? ` ${all - done} were left alone.` : '';
        return h(
            'div',
            { class: failed.length ? 'notice notice-bad' : 'notice notice-good' },
            h('p', null, `${action.label}: ${good} of ${plural(all, 'machine')} done.${left}`),
            failed.length > 0 &&
                h(
                    'ul',
                    { class: 'bulk-failed' },
                    failed.map(([vm, problem]) =>
                        h('li', null, h('strong', null, vm.name), problemBody(problem)),
                    ),
                ),
            dismiss,
        );
    }

    herd.on('vm', (id) => picked.has(id) && show(), signal);
    return { root, show };
}

function whatIsLost(verb, vms) {
    const on = vms.filter(isOn);
    const names = vms.slice(0, NAMES_SHOWN).map((vm) => h('li', null, vm.name));
    const more = vms.length - names.length;
    const lost = {
        shutdown: 'Each guest is asked to finish its work. Nothing that it has written is lost.',
        stop:
            'Like pulling the plug: the contents of their memory and whatever the guests have ' +
            'not written to their disks are lost. Disks and definitions stay.',
        delete:
            'Their definitions, everything on their disks and what their consoles printed are ' +
            'lost and cannot be brought back. Images stay.',
    };
    return [
        h('p', null, lost[verb]),
        verb === 'delete' &&
            on.length > 0 &&
            h(
                'p',
                null,
                h(
                    'strong',
                    null,
                    `${plural(on.length, 'machine')} still on: stopped first, like pulling the plug.`,
                ),
            ),
        h('ul', { class: 'bulk-names' }, names),
        more > 0 && h('p', null, `and ${plural(more, 'more', 'more')}`),
    ];
}
