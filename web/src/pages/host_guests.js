/* All guests of the host at once: shut down, started again, and what became of each the last time. */
import { operationProblem } from '../lib/actions.js';
import { get, post } from '../lib/api.js';
import { formSheet } from '../lib/dialog.js';
import { h, replace, setHidden, setText } from '../lib/dom.js';
import { field } from '../lib/forms.js';
import { clock, plural, span, time } from '../lib/format.js';
import { announce, showProblem } from '../lib/notify.js';
import { operationProgress } from '../lib/progress.js';
import { redraw, reloader } from '../lib/reload.js';
import { scrollTable } from '../lib/table.js';

const PATH = '/v1/host/shutdown-guests';
const TITLES = ['Machine', 'Was to', 'Came out', 'Took', 'At', 'Why'];
const TRIED = {
    shutdown: 'shut down',
    save: 'save its memory',
    leave: 'be left',
    stop: 'stop',
};
const OUTCOMES = {
    shutdown: 'shut down',
    saved: 'saved',
    stopped: 'its plug was pulled',
    left: 'left as it was',
    cancelled: 'cancelled',
    failed: 'failed',
};

/* Only for who may write to the host: the report shows machines of every project. */
export async function guestsSection({ herd, signal }) {
    const state = h('div');
    const going = h('div');
    const body = h('tbody');
    const table = scrollTable('The last shutdown of the guests', TITLES, body);
    const trouble = h('div', { role: 'alert' });
    let followed = null;
    const shut = button('Shut down all guests …', askShutdown, 'danger');
    const start = button('Start the guests again', startAgain);

    const load = reloader(
        async () => {
            const report = await get(PATH, { signal });
            show(report);
            if (report.operation_id && report.operation_id !== followed) {
                await pickUp(report.operation_id);
            }
        },
        { trouble, signal },
    );

    function show(report) {
        const { vms } = report;
        replace(
            state,
            report.refuses_starts
                ? h(
                      'p',
                      { class: 'notice' },
                      h('strong', null, 'No machine starts at the moment: '),
                      'the guests were shut down, and the host is taken to be going down. ',
                      'If it stays up, start them again.',
                  )
                : h(
                      'p',
                      { class: 'help' },
                      vms.length
                          ? `The last time, ${time(vms[0].started_at)}: ${plural(vms.length, 'machine')}.`
                          : 'They were not shut down together yet.',
                  ),
        );
        setHidden(start, !report.refuses_starts);
        setHidden(shut, report.refuses_starts);
        setHidden(table, vms.length === 0);
        redraw(body, vms.map(row));
    }

    /* One that somebody else asked for, or before a reload. */
    async function pickUp(id) {
        const operation = await get(`/v1/operations/${encodeURIComponent(id)}`, { signal });
        if (['pending', 'running'].includes(operation.state)) {
            follow(operation);
        }
    }

    function follow(operation) {
        if (followed === operation.id) {
            return;
        }
        followed = operation.id;
        start.disabled = true;
        replace(
            going,
            operationProgress({
                operation,
                what: 'Shutting down the guests',
                signal,
                onEnd(end) {
                    start.disabled = false;
                    replace(going);
                    if (end.state === 'succeeded') {
                        announce('The guests are off');
                    } else if (end.state === 'cancelled') {
                        announce('Cancelled: the machines stay as they are');
                    } else {
                        showProblem('Shutting down the guests did not work', operationProblem(end));
                    }
                    load();
                },
            }),
        );
    }

    async function askShutdown() {
        const counted = h('span');
        const over = new AbortController();
        const count = () => {
            const on = [...herd.vms.values()].filter((vm) => vm.state === 'running');
            setText(
                counted,
                herd.loaded ? `${plural(on.length, 'running machine')} in the one shown` : 'how many is not known yet',
            );
        };
        ['list', 'loaded', 'vm'].forEach((news) => herd.on(news, count, over.signal));
        count();
        const sure = field({
            label: 'I know that every project’s machines go off',
            control: h('input', { type: 'checkbox', required: true }),
        });
        let operation = null;
        const sent = await formSheet({
            title: 'Shut down all guests of this host?',
            body: [
                h(
                    'p',
                    null,
                    'Every machine that is on, of every project (',
                    counted,
                    '), is asked to shut down or saved, as its definition says. ',
                    'One that does not obey in its time is stopped: what it has not written to its disks is lost. Consoles and leases end.',
                ),
                h(
                    'p',
                    null,
                    'No machine starts after that until the host was booted or you start the guests again.',
                ),
            ],
            fields: [sure],
            action: 'Shut down all guests',
            danger: true,
            async send() {
                operation = await post(PATH);
            },
        });
        over.abort();
        if (sent) {
            announce('Shutting down the guests');
            follow(operation);
            await load();
        }
    }

    async function startAgain() {
        start.disabled = true;
        try {
            show(await post('/v1/host/start-guests'));
            announce('The guests start again');
        } catch (problem) {
            showProblem('Starting the guests again did not work', problem);
        } finally {
            start.disabled = false;
        }
    }

    herd.follows(
        (event) => going.firstChild && /^(operation|vm)\./.test(event.type),
        load,
        signal,
    );
    await load();
    return h(
        'section',
        { class: 'panel', 'aria-labelledby': 'host-guests' },
        h('div', { class: 'panel-head' }, h('h2', { id: 'host-guests' }, 'All guests'), shut, start),
        trouble,
        state,
        going,
        table,
    );
}

function row(vm) {
    const came = vm.outcome === null ? 'not known yet' : (OUTCOMES[vm.outcome] ?? vm.outcome);
    const bad = ['stopped', 'failed'].includes(vm.outcome);
    return h(
        'tr',
        null,
        h('th', { scope: 'row' }, vm.name),
        h('td', null, `${TRIED[vm.action] ?? vm.action}, within ${vm.seconds} s`),
        h('td', null, h('span', { class: 'tag', 'data-state': bad ? 'failed' : 'ok' }, came)),
        h('td', null, span(vm.took_ms)),
        h('td', null, h('time', { datetime: vm.started_at, title: time(vm.started_at) }, clock(vm.started_at))),
        h('td', { class: 'why' }, vm.detail),
    );
}

function button(text, onclick, extra = '') {
    return h('button', { type: 'button', class: `button small ${extra}`, onclick }, text);
}
