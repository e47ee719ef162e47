/* Which project the dashboard shows, for who may look into others. */
import { isPassing, listAll } from './api.js';
import { h, replace, setHidden } from './dom.js';
import { lookAgain, projectShown, remembersPlace } from './place.js';
import { backoff } from './sse.js';

const mayMove = (session) => session.can('project:write');

/* Before anything else is asked for: where this tab was before it was loaded again. */
export async function returnToProject(session) {
    if (mayMove(session) && remembersPlace()) {
        const projects = await listAll('/v1/projects').catch((problem) => (isPassing(problem) ? null : []));
        lookAgain(projects && projects.map((p) => p.name));
    }
}

/* onMove(name): null for one's own. Nothing to choose from, nothing is shown. */
export function projectPicker({ session, onMove, signal }) {
    let again = null;
    let tries = 0; /* in vain, one after the other */
    signal.addEventListener('abort', () => clearTimeout(again));
    const select = h('select', {
        'aria-label': 'Project',
        onchange: () => onMove(select.value === session.project ? null : select.value),
    });
    const root = h('span', { class: 'where', hidden: true }, select);

    async function refresh() {
        if (!mayMove(session)) {
            return;
        }
        clearTimeout(again);
        let projects;
        try {
            projects = await listAll('/v1/projects', { signal });
        } catch (problem) {
            if (!signal.aborted && isPassing(problem)) {
                again = setTimeout(refresh, backoff(tries));
                tries += 1;
            }
            return;
        }
        tries = 0;
        replace(
            select,
            projects.map((p) => h('option', { value: p.name }, p.name)),
        );
        select.value = projectShown() ?? session.project;
        setHidden(root, projects.length < 2);
    }

    refresh();
    return { root, refresh };
}
