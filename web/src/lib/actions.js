/* What can be done to a VM: when, under which words, and what would be lost. */
import { h } from './dom.js';
import { del, post } from './api.js';
import { confirm } from './dialog.js';
import { announce, showProblem } from './notify.js';

export const ACTIONS = {
    start: { label: 'Start', states: ['stopped', 'saved', 'crashed', 'failed'], doing: 'Starting' },
    shutdown: { label: 'Shut down', states: ['running'], doing: 'Shutting down' },
    pause: { label: 'Pause', states: ['running'], doing: 'Pausing' },
    resume: { label: 'Resume', states: ['paused'], doing: 'Resuming' },
    reboot: { label: 'Reboot', states: ['running'], doing: 'Rebooting' },
    save: { label: 'Save to disk', states: ['running', 'paused'], doing: 'Saving' },
    reset: {
        label: 'Reset',
        states: ['running', 'paused'],
        doing: 'Resetting',
        danger: true,
        ask: (vm) => [
            `Reset ${vm.name}?`,
            'Like pressing the reset button: programs end at once and whatever the guest has not written to its disks is lost.',
        ],
    },
    stop: {
        label: 'Stop',
        states: ['running', 'paused', 'starting', 'stopping'],
        doing: 'Stopping',
        danger: true,
        ask: (vm) => [
            `Stop ${vm.name} now?`,
            'Like pulling the plug: the contents of its memory and whatever the guest has not written to its disks are lost. Its disks and definition stay. To let the guest finish its work, use “Shut down”.',
        ],
    },
    delete: {
        label: 'Delete',
        states: [
            'stopped',
            'saved',
            'crashed',
            'failed',
            'running',
            'paused',
            'starting',
            'stopping',
        ],
        doing: 'Deleting',
        danger: true,
        ask: askDelete,
    },
};

function askDelete(vm) {
    const lost = [
        h('p', null, 'These are lost and cannot be brought back:'),
        h(
            'ul',
            null,
            h('li', null, 'its definition'),
            h(
                'li',
                null,
                vm.disks?.length || vm.image
                    ? 'everything on its disks'
                    : 'its disks, if it has any',
            ),
            h('li', null, 'what its console printed'),
            vm.state === 'saved' && h('li', null, 'its saved memory'),
            isOn(vm) &&
                h(
                    'li',
                    null,
                    `what runs in it: it is ${vm.state} and is stopped first, like pulling the plug`,
                ),
        ),
        vm.image && h('p', null, `The image ${vm.image} stays.`),
    ];
    return [`Delete ${vm.name}?`, lost];
}

export function isOn(vm) {
    return ['running', 'paused', 'starting', 'stopping'].includes(vm.state);
}

export function allowed(vm, verb) {
    return ACTIONS[verb].states.includes(vm.state);
}

/* Sends it and answers the operation when it has ended; nothing where there was none to follow. */
export async function send(herd, vm, verb) {
    const ref = encodeURIComponent(vm.id);
    const operation =
        verb === 'delete'
            ? await del(`/v1/vms/${ref}${isOn(vm) ? '?force=true' : ''}`)
            : await post(`/v1/vms/${ref}/${verb}`);
    return operation?.id ? herd.operation(operation) : null;
}

/* Asks where something is lost, sends, follows the operation, tells how it ended. */
export async function act(herd, vm, verb) {
    const action = ACTIONS[verb];
    if (action.ask) {
        const [title, body] = action.ask(vm);
        if (!(await confirm({ title, body, action: action.label, danger: true }))) {
            return false;
        }
    }
    const what = `${action.label} ${vm.name}`;
    announce(`${action.doing} ${vm.name}`);
    try {
        const end = await send(herd, vm, verb);
        if (!end || end.state === 'succeeded') {
            return true;
        }
        showProblem(`${what} did not work`, operationProblem(end));
    } catch (problem) {
        if (problem.name !== 'AbortError') {
            showProblem(`${what} did not work`, problem);
        }
    }
    return false;
}

export function operationProblem(operation) {
    return {
        title: operation.error?.title ?? `The operation ${operation.state}`,
        detail: operation.error?.detail ?? '',
        remedy: operation.error?.remedy ?? '',
        requestId: operation.request_id ?? '',
    };
}
