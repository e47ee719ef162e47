/* Who turns the kernel's knobs for merging, and the knobs themselves. */
import { request } from './api.js';
import { h, replace, setHidden, setText } from './dom.js';
import { clearMarks, field, showFormProblem } from './forms.js';
import { announce } from './notify.js';

const RUN = [
    ['1', 'merge'],
    ['0', 'stop, keep what is merged'],
    ['2', 'stop and unmerge everything'],
];
const MODES = [
    ['auto', 'Drover, within a budget'],
    ['static', 'as set here'],
    ['off', 'nobody'],
];

/* onChange(ksm): as the daemon answers. */
export function ksmForm({ onChange }) {
    const number = (min, max) =>
        h('input', { type: 'number', min, max, step: 1, inputmode: 'numeric' });
    const select = (options) =>
        h(
            'select',
            null,
            options.map(([value, text]) => h('option', { value }, text)),
        );
    const mode = field({
        label: 'Who turns the knobs',
        pointer: '/tuner/mode',
        control: select(MODES),
    });
    const budget = field({
        label: 'Share of one CPU, in the long run (%)',
        pointer: '/tuner/cpu_percent',
        control: number(1, 100),
    });
    const run = field({ label: 'Merging', pointer: '/knobs/run', control: select(RUN) });
    const pages = field({
        label: 'Pages in one go',
        pointer: '/knobs/pages_to_scan',
        control: number(1, 1000000),
    });
    const sleep = field({
        label: 'Pause between goes (ms)',
        pointer: '/knobs/sleep_millisecs',
        control: number(0, 3600000),
    });
    const all = [mode, budget, run, pages, sleep];
    const trouble = h('div', { role: 'alert' });
    const phase = h('p', { class: 'help' });
    const button = h('button', { type: 'submit', class: 'button primary' }, 'Apply');
    let tuned = false;
    let touched = false;

    function arrange() {
        const auto = tuned && mode.control.value === 'auto';
        setHidden(mode.root, !tuned);
        setHidden(budget.root, !auto);
        for (const knob of [run, pages, sleep]) {
            setHidden(knob.root, auto);
        }
        setText(button, auto ? 'Let Drover do it' : 'Apply');
    }

    /* What is being typed is not overwritten by a newer reading. */
    function show(ksm) {
        tuned = Boolean(ksm.tuner);
        setText(phase, tuned ? `${ksm.tuner.phase}: ${ksm.tuner.reason}` : '');
        if (!touched) {
            mode.control.value = ksm.tuner?.mode ?? 'off';
            budget.control.value = String(ksm.tuner?.cpu_percent ?? '');
            run.control.value = String(ksm.knobs?.run ?? 0);
            pages.control.value = String(ksm.knobs?.pages_to_scan ?? '');
            sleep.control.value = String(ksm.knobs?.sleep_millisecs ?? '');
        }
        arrange();
    }

    function wish() {
        const auto = tuned && mode.control.value === 'auto';
        const body = {};
        if (tuned) {
            body.tuner = { mode: mode.control.value };
        }
        if (auto && budget.control.value) {
            body.tuner.cpu_percent = Number(budget.control.value);
        }
        if (!auto) {
            body.knobs = {
                run: Number(run.control.value),
                pages_to_scan: Number(pages.control.value),
                sleep_millisecs: Number(sleep.control.value),
            };
        }
        return body;
    }

    async function apply(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        button.disabled = true;
        try {
            const now = await request('PATCH', '/v1/ksm', { body: wish() });
            touched = false;
            announce('Applied');
            onChange(now);
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        } finally {
            button.disabled = false;
        }
    }

    const root = h(
        'form',
        {
            class: 'panel form',
            onsubmit: apply,
            oninput() {
                touched = true;
                arrange();
            },
        },
        h('h2', null, 'Control'),
        phase,
        h(
            'div',
            { class: 'form-grid' },
            all.map((f) => f.root),
        ),
        trouble,
        h(
            'div',
            { class: 'form-end' },
            h(
                'button',
                {
                    type: 'reset',
                    class: 'button',
                    onclick() {
                        touched = false;
                        replace(trouble);
                    },
                },
                'Forget my changes',
            ),
            button,
        ),
    );
    return { root, show };
}
