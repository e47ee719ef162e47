/* Projects: who is kept apart from whom, what each may use, and whose memory may be merged. */
import { accessTabs } from '../lib/accesstabs.js';
import { del, listAll, post, request } from '../lib/api.js';
import { confirm } from '../lib/dialog.js';
import { h, setHidden, setText } from '../lib/dom.js';
import { clearMarks, field, showFormProblem } from '../lib/forms.js';
import { time } from '../lib/format.js';
import { nameField, textInput } from '../lib/inputs.js';
import { announce, showProblem } from '../lib/notify.js';
import { projectShown } from '../lib/place.js';
import { limitFields, limitsOf, RESOURCES, showLimits } from '../lib/quota.js';
import { redraw, reloader } from '../lib/reload.js';

export async function projectsPage({ session, signal, moveTo, projectsChanged }) {
    const list = h('ul', { class: 'cards' });
    const trouble = h('div', { role: 'alert' });
    const load = reloader(
        async () => {
            const projects = await listAll('/v1/projects', { signal });
            redraw(list, projects.map(card));
            projectsChanged();
        },
        { trouble, signal },
    );
    const form = projectForm({ load });

    function usage(project) {
        return RESOURCES.map(([name, label, show]) => {
            const limit = project.quota[name];
            const used = show(project.usage[name]);

            return [label, limit === null ? used : `${used} of ${show(limit)}`];
        });
    }

    function merging(project) {
        if (!project.memory_merge) {
            return 'never';
        }
        const others = project.merge_with ?? [];
        return others.length
            ? `within it, and with ${others.join(', ')} where they name it, too`
            : 'within it only';
    }

    function card(project) {
        const current = project.name === (projectShown() ?? session.project);
        const own = project.name === session.project;

        return h(
            'li',
            { class: 'panel card', 'data-project': project.name },
            h(
                'div',
                { class: 'vm-title' },
                h('strong', null, project.name),
                current && h('span', { class: 'tag', 'data-state': 'ok' }, 'shown'),
            ),
            h('p', { class: 'help' }, `since ${time(project.created_at)}`),
            h(
                'dl',
                { class: 'facts' },
                [...usage(project), ['Merging', merging(project)]].map(([term, value]) =>
                    h('div', null, h('dt', null, term), h('dd', null, value)),
                ),
            ),
            h(
                'div',
                { class: 'button-row' },
                !current &&
                    button('Show', `Show ${project.name}`, () =>
                        moveTo(own ? null : project.name),
                    ),
                button('Edit', `Edit ${project.name}`, () => form.edit(project)),
                project.name !== 'default' &&
                    button('Delete', `Delete ${project.name}`, () => remove(project), 'danger'),
            ),
        );
    }

    async function remove(project) {
        const yes = await confirm({
            title: `Delete the project ${project.name}?`,
            action: 'Delete',
            danger: true,
            body: 'Only an empty project can be deleted: its machines, images, pools and tokens go first.',
        });
        if (!yes) {
            return;
        }
        try {
            await del(`/v1/projects/${encodeURIComponent(project.id)}`);
            announce(`${project.name} was deleted`);
            if (projectShown() === project.name) {
                moveTo(null);
                return;
            }
        } catch (problem) {
            showProblem(`Deleting ${project.name} did not work`, problem);
        }
        await load();
    }

    await load();
    return {
        title: 'Projects',
        root: h(
            'div',
            null,
            h('div', { class: 'page-head' }, h('h1', null, 'Projects')),
            accessTabs(session, '#/projects'),
            h(
                'p',
                { class: 'help lead' },
                'Machines, images, pools, leases, sets, tokens and events belong to one project; ',
                'a token sees its own and nothing else.',
            ),
            trouble,
            list,
            form.root,
        ),
    };
}

function button(text, label, onclick, extra = '') {
    return h(
        'button',
        { type: 'button', class: `button small ${extra}`, 'aria-label': label, onclick },
        text,
    );
}

function projectForm({ load }) {
    const name = nameField();
    const limits = limitFields();
    const merges = field({
        label: 'Its machines may merge memory with one another',
        pointer: '/memory_merge',
        control: h('input', { type: 'checkbox' }),
    });
    const trusts = field({
        label: 'And with those of these projects',
        pointer: '/merge_with',
        help: 'Names with commas. Merging tells a guest what others have in memory: only who trusts each other.',
        control: textInput(),
    });
    const all = [name, ...limits, merges, trusts];
    const trouble = h('div', { role: 'alert' });
    const heading = h('h2', null, 'New project');
    const submit = h('button', { type: 'submit', class: 'button primary' }, 'Create');
    const cancel = h(
        'button',
        { type: 'button', class: 'button', hidden: true, onclick: () => fresh() },
        'Cancel',
    );
    let edited = null;

    function fresh() {
        edited = null;
        form.reset();
        name.control.readOnly = false;
        setText(heading, 'New project');
        setText(submit, 'Create');
        setHidden(cancel, true);
        clearMarks(all, trouble);
    }

    function wish() {
        const others = trusts.control.value.split(/[\s,]+/).filter(Boolean);
        return { quota: limitsOf(limits), memory_merge: merges.control.checked, merge_with: others };
    }

    async function send(event) {
        event.preventDefault();
        clearMarks(all, trouble);
        submit.disabled = true;
        try {
            if (edited) {
                const path = `/v1/projects/${encodeURIComponent(edited.id)}`;
                await request('PATCH', path, { body: wish() });
            } else {
                await post('/v1/projects', { name: name.control.value.trim(), ...wish() });
            }
            announce(`The project ${name.control.value} was ${edited ? 'changed' : 'made'}`);
            fresh();
            await load();
        } catch (problem) {
            showFormProblem(all, trouble, problem);
        } finally {
            submit.disabled = false;
        }
    }

    function edit(project) {
        fresh();
        edited = project;
        name.control.value = project.name;
        name.control.readOnly = true;
        showLimits(limits, project.quota);
        merges.control.checked = project.memory_merge;
        trusts.control.value = (project.merge_with ?? []).join(', ');
        setText(heading, `Change ${project.name}`);
        setText(submit, 'Change');
        setHidden(cancel, false);
        limits[0].control.focus();
    }

    const form = h(
        'form',
        { class: 'panel form', onsubmit: send },
        heading,
        h(
            'div',
            { class: 'form-grid' },
            [name, ...limits].map((f) => f.root),
        ),
        h('div', { class: 'checkboxes' }, merges.root),
        trusts.root,
        trouble,
        h('div', { class: 'form-end' }, cancel, submit),
    );
    return { root: form, edit };
}
