/* What a share link opens: one console of one VM, for somebody who has nothing but the link. */
import { request } from '../lib/api.js';
import { h, logo, replace } from '../lib/dom.js';
import { time } from '../lib/format.js';
import { problemBody } from '../lib/notify.js';
import { streamTitle } from '../lib/streams.js';

export async function sharedPage(ticket, signal) {
    const root = h('div', { class: 'shared' }, h('p', { class: 'brand' }, logo(), 'Drover'));
    try {
        const body = { ticket };
        const target = await request('POST', '/v1/tickets/lookup', {
            body,
            signal,
            quiet401: true,
        });
        return await opened(root, target, ticket, signal);
    } catch (problem) {
        if (problem.name === 'AbortError') {
            throw problem;
        }
        return refused(root, problem);
    }
}

function refused(root, problem) {
    const told =
        problem.status === 410
            ? {
                  title: 'It was used already, has expired or was revoked.',
                  remedy: 'Ask whoever gave it to you for a new one.',
                  requestId: problem.requestId,
              }
            : problem;
    root.append(
        h('h1', null, 'This link does not work'),
        h('div', { class: 'notice notice-bad', role: 'alert' }, problemBody(told)),
        h('p', null, h('a', { href: '#/' }, 'Sign in')),
    );
    return { title: 'Shared console', root, start() {} };
}

async function opened(root, target, ticket, signal) {
    const { vm, stream, mode } = target;
    const title = `${streamTitle(stream)} of ${vm.name}`;
    const words = [
        mode === 'view'
            ? 'You were given this to watch.'
            : 'You were given this to watch and type.',
        target.single_use
            ? 'The link opens it once.'
            : `The link works until ${time(target.expires_at)}.`,
    ].join(' ');
    const place = h('div', { class: 'pane' }, h('p', { class: 'panel' }, 'Loading …'));
    root.append(h('h1', null, title), h('p', { class: 'help' }, words), place);
    const options = {
        vm: () => vm,
        stream,
        mayControl: mode === 'control',
        isOn: () => true,
        ticket,
        oneUse: target.single_use,
        signal,
    };
    const make =
        stream === 'display'
            ? (await import('../console/display.js')).displayPane
            : (await import('../console/pane.js')).terminalPane;
    const pane = make(options);
    replace(place, pane.root);
    return {
        title,
        root,
        start() {
            pane.start();
            pane.focus();
        },
    };
}
