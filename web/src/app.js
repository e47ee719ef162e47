/* Starts the dashboard: signs in, then shows the page that the address after # names. */
import { accessStart, isAccess } from './lib/accesstabs.js';
import { get, whenSignedOut } from './lib/api.js';
import { h, logo, replace, setText } from './lib/dom.js';
import { banner } from './lib/banner.js';
import { Desk } from './lib/desk.js';
import { Recorder } from './lib/recordings.js';
import { Herd } from './lib/herd.js';
import { Live } from './lib/live.js';
import { forgetPlace, lookInto, projectShown } from './lib/place.js';
import { projectPicker, returnToProject } from './lib/projects.js';
import { announce, mountNotices, showProblem } from './lib/notify.js';
import { troubleNotice } from './lib/reload.js';
import { currentSession, signIn, signOut, takeCode } from './lib/session.js';
import { signInPage } from './pages/signin.js';
import { listPage } from './pages/list.js';
import { createPage } from './pages/create.js';
import { vmPage } from './pages/vm.js';
import { consolesPage } from './pages/consoles.js';

const lazy = (load, name) => async (context) => (await load())[name](context);
const ROUTES = [
    [/^$/, listPage],
    [/^new$/, createPage],
    [/^vms\/([^/]+)(?:\/(.+))?$/, vmPage],
    [/^consoles$/, consolesPage],
    [/^recordings$/, lazy(() => import('./pages/recordings.js'), 'recordingsPage')],
    [/^recordings\/([^/]+)$/, lazy(() => import('./pages/recordings.js'), 'recordingPage')],
    [/^pools$/, lazy(() => import('./pages/many.js'), 'poolsPage')],
    [/^leases$/, lazy(() => import('./pages/many.js'), 'leasesPage')],
    [/^sets$/, lazy(() => import('./pages/many.js'), 'setsPage')],
    [/^sets\/([^/]+)$/, lazy(() => import('./pages/many.js'), 'setPage')],
    [/^images$/, lazy(() => import('./pages/images.js'), 'imagesPage')],
    [/^memory$/, lazy(() => import('./pages/overview.js'), 'memoryPage')],
    [/^activity$/, lazy(() => import('./pages/overview.js'), 'activityPage')],
    [/^host$/, lazy(() => import('./pages/overview.js'), 'hostPage')],
    [/^webhooks$/, lazy(() => import('./pages/access.js'), 'webhooksPage')],
    [/^projects$/, lazy(() => import('./pages/access.js'), 'projectsPage')],
    [/^audit$/, lazy(() => import('./pages/access.js'), 'auditPage')],
    [/^tokens$/, lazy(() => import('./pages/access.js'), 'tokensPage')],
];
const NAV = [
    ['#/', 'Machines', 'vm:read'],
    ['#/consoles', 'Consoles', 'console:view'],
    ['#/sets', 'Sets', 'vm:read'],
    ['#/pools', 'Pools', 'vm:read'],
    ['#/leases', 'Leases', 'vm:read'],
    ['#/images', 'Images', 'image:read'],
    ['#/recordings', 'Recordings', 'console:view'],
    ['#/memory', 'Memory', 'host:read'],
    ['#/activity', 'Activity', 'vm:read'],
    ['#/host', 'Host', 'host:read'],
];
const LIVE_WORDS = { live: 'Live', connecting: 'Connecting', lost: 'Reconnecting' };

const main = h('main', { id: 'main', tabindex: '-1' });
let app = null; /* what begun() makes; while signed in */
let page = null; /* AbortController of the page shown */

function shell(session, live, picker) {
    const links = NAV.filter(([, , scope]) => session.can(scope)).map(([href, text]) =>
        h('a', { href }, text),
    );
    const access = accessStart(session);
    if (access) {
        links.push(h('a', { href: access }, 'Access'));
    }
    const words = h('span', null, LIVE_WORDS[live.status]);
    const light = h(
        'span',
        { class: 'live', 'data-live': live.status, title: 'State of the event stream' },
        words,
    );
    live.on('status', (status) => {
        light.dataset.live = status;
        setText(words, LIVE_WORDS[status]);
        announce(status === 'live' ? 'Live again' : 'Connection lost, reconnecting');
    });
    const header = h(
        'header',
        { class: 'top' },
        h('a', { class: 'skip', href: '#main', onclick: skip }, 'Skip to content'),
        h('a', { class: 'brand', href: '#/' }, logo(), h('span', null, 'Drover')),
        h('nav', { 'aria-label': 'Sections' }, links),
        h(
            'div',
            { class: 'top-end' },
            light,
            picker.root,
            h(
                'button',
                {
                    type: 'button',
                    class: 'button small quiet who',
                    title: `Role: ${session.role}, project: ${session.project}`,
                    onclick: async () =>
                        (await import('./lib/account.js')).accountSheet(session),
                },
                session.name || session.role,
                session.project !== 'default' && h('span', { class: 'hint' }, ` in ${session.project}`),
            ),
            h(
                'button',
                { type: 'button', class: 'button small quiet', onclick: leave },
                'Sign out',
            ),
        ),
    );
    return { header, links };
}

function skip(event) {
    event.preventDefault();
    main.focus();
}

async function leave() {
    try {
        await signOut();
    } catch (problem) {
        if (problem.status !== 401) {
            showProblem('Signing out did not work', problem);
            return;
        }
    }
    showSignIn();
}

function showSignIn(problem) {
    endSession();
    document.title = 'Sign in · Drover';
    replace(document.body, main);
    mountNotices(document.body);
    replace(main, signInPage({ problem, onSignedIn: enter }));
    main.querySelector('input')?.focus();
}

/* name: null for one's own project. What is open of the one before is closed. */
function moveTo(name) {
    const { session } = app;
    endSession();
    lookInto(name);
    history.replaceState(null, '', '#/');
    begun(session);
    announce(`Project ${projectShown() ?? session.project}`);
}

async function enter(session) {
    await returnToProject(session);
    begun(session);
}

function begun(session) {
    const live = new Live();
    const herd = new Herd(live);
    const end = new AbortController();
    const picker = projectPicker({ session, onMove: moveTo, signal: end.signal });
    const { header, links } = shell(session, live, picker);
    const recorder = new Recorder(herd, end.signal);
    const desk = new Desk({ herd, session, recorder, signal: end.signal });
    app = { session, live, herd, desk, recorder, links, end, moveTo, projectsChanged: picker.refresh };
    live.on('refused', showSignIn);
    replace(document.body, header, banner(live, end.signal), main, footer());
    mountNotices(document.body);
    live.start();
    show();
}

function footer() {
    const version = h('span');
    get('/v1').then(
        (facts) => setText(version, `Drover ${facts.server_version}`),
        () => {},
    );
    return h(
        'footer',
        { class: 'foot' },
        version,
        h('a', { href: '/docs' }, 'API documentation'),
        h('a', { href: '/openapi.yaml' }, 'openapi.yaml'),
        h('a', { href: document.querySelector('link[rel=license]').href }, 'Licences'),
    );
}

async function show({ moveFocus = false, tries = 0 } = {}) {
    if (!app) {
        return;
    }
    page?.abort();
    page = new AbortController();
    closeDialogs();
    const { signal } = page;
    const address = location.hash.replace(/^#\/?/, '').split('?')[0];
    const found = ROUTES.map(([pattern, make]) => [pattern.exec(address), make]).find(
        ([match]) => match,
    );
    markCurrent(address);
    if (!found) {
        document.title = 'Not found · Drover';
        replace(
            main,
            h('h1', null, 'There is nothing here'),
            h('p', null, h('a', { href: '#/' }, 'All machines')),
        );
        return;
    }
    const [match, make] = found;
    try {
        const made = await make({
            ...app,
            signal,
            params: match.slice(1).map((p) => p && decodeURIComponent(p)),
        });
        if (signal.aborted) {
            return;
        }
        document.title = `${made.title} · Drover`;
        replace(main, made.root);
        made.start?.();
        if (moveFocus && !main.contains(document.activeElement)) {
            const heading = main.querySelector('h1');
            heading?.setAttribute('tabindex', '-1');
            heading?.focus();
            scrollTo(0, 0);
        }
    } catch (problem) {
        if (!signal.aborted) {
            const again = () => show({ tries: tries + 1 });
            replace(
                main,
                h('h1', null, 'This page cannot be shown'),
                h('div', { role: 'alert' }, troubleNotice(problem, { again, tries, signal })),
            );
        }
    }
}

/* A question belongs to the page that asked it. */
function closeDialogs() {
    for (const dialog of document.querySelectorAll('dialog[open]')) {
        dialog.close('no');
    }
}

function markCurrent(address) {
    const [first] = address.split('/');
    const wanted = isAccess(`#/${first}`) ? accessStart(app.session) : `#/${first}`;
    const at = app.links.findIndex((link) => link.getAttribute('href') === wanted);
    for (const [i, link] of app.links.entries()) {
        if (i === Math.max(at, 0)) {
            link.setAttribute('aria-current', 'page');
            link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetWidth / 3;
        } else {
            link.removeAttribute('aria-current');
        }
    }
}

/* A share link needs no session, and does not use one that there may be. */
async function showShared(ticket) {
    endSession();
    const { signal } = page;
    replace(document.body, main, footer());
    mountNotices(document.body);
    replace(main, h('p', null, 'Loading …'));
    const { sharedPage } = await import('./pages/shared.js');
    const made = await sharedPage(ticket, signal);
    if (!signal.aborted) {
        document.title = `${made.title} · Drover`;
        replace(main, made.root);
        made.start();
    }
}

function endSession() {
    page?.abort();
    page = new AbortController();
    app?.live.stop();
    app?.herd.stop();
    app?.end.abort();
    app = null;
    forgetPlace();
}

async function begin() {
    const share = /^#share=([^&]+)$/.exec(location.hash);
    if (share) {
        await showShared(decodeURIComponent(share[1]));
        return;
    }
    const code = takeCode();
    try {
        const session = code ? await signIn({ code }) : await currentSession();
        if (session) {
            enter(session);
        } else {
            showSignIn();
        }
    } catch (problem) {
        /* A link used twice is no harm to somebody who is signed in already. */
        const session = code ? await currentSession().catch(() => null) : null;
        if (session) {
            enter(session);
        } else {
            showSignIn(problem);
        }
    }
}

whenSignedOut((problem) => app && showSignIn(problem));
addEventListener('hashchange', () => {
    if (!app || /^#(code|share)=/.test(location.hash)) {
        begin();
    } else {
        show({ moveFocus: true });
    }
});
begin();
