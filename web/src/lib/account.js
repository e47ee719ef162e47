/* Who is signed in, with what rights, and the way into another browser. Loaded on demand. */
import { post } from './api.js';
import { copyButton } from './clipboard.js';
import { sheet } from './dialog.js';
import { h, replace } from './dom.js';
import { time } from './format.js';
import { problemBody } from './notify.js';

export function accountSheet(session) {
    const result = h('div', { role: 'status' });
    const trouble = h('div', { role: 'alert' });
    const make = h(
        'button',
        { type: 'button', class: 'button primary', onclick: link },
        'Sign in another browser',
    );

    async function link() {
        make.disabled = true;
        replace(trouble);
        try {
            const made = await post('/v1/session/codes');
            const code = h('code', { class: 'secret', tabindex: '0' }, made.url);
            const copy = copyButton(code, 'the sign-in link');
            replace(
                result,
                h(
                    'div',
                    { class: 'notice notice-good' },
                    h('p', null, code),
                    h(
                        'p',
                        { class: 'help' },
                        `Opened in another browser, it signs in there with your rights: once, and until ${time(made.expires_at)}. Who has it can do all that you can.`,
                    ),
                    copy,
                ),
            );
            copy.focus();
        } catch (problem) {
            replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(problem)));
        } finally {
            make.disabled = false;
        }
    }

    const facts = [
        ['Name', session.name || 'without a name'],
        ['Role', session.role],
        ['Project', session.project],
        ['May', session.scopes.join(', ')],
    ];
    sheet({
        title: 'You are signed in',
        body: [
            h(
                'dl',
                { class: 'facts' },
                facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
            ),
            h('div', { class: 'button-row' }, make),
            result,
            trouble,
        ],
        closed: () => {},
    });
}
