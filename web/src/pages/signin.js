/* Sign-in by token; by link it happens before anything is shown. */
import { h, logo, replace } from '../lib/dom.js';
import { problemBody } from '../lib/notify.js';
import { signIn } from '../lib/session.js';

export function signInPage({ problem, onSignedIn }) {
    const trouble = h('div', { id: 'sign-in-trouble', role: 'alert' });
    const token = h('input', {
        id: 'token',
        name: 'token',
        type: 'password',
        required: true,
        autocomplete: 'off',
        spellcheck: 'false',
        'aria-describedby': 'sign-in-trouble',
    });
    const button = h('button', { class: 'button primary', type: 'submit' }, 'Sign in');
    const show = (p) => replace(trouble, h('div', { class: 'notice notice-bad' }, problemBody(p)));
    if (problem) {
        show(problem);
    }
    return h(
        'div',
        { class: 'sign-in' },
        h('div', { class: 'sign-in-brand' }, logo(), h('h1', null, 'Drover')),
        h('p', null, 'Open a one-time sign-in link, or paste an API token.'),
        trouble,
        h(
            'form',
            {
                async onsubmit(event) {
                    event.preventDefault();
                    button.disabled = true;
                    try {
                        onSignedIn(await signIn({ token: token.value.trim() }));
                    } catch (p) {
                        token.setAttribute('aria-invalid', 'true');
                        show(p);
                        token.focus();
                    } finally {
                        button.disabled = false;
                    }
                },
            },
            h('label', { for: 'token' }, 'API token'),
            token,
            button,
        ),
        h(
            'p',
            { class: 'help' },
            'On the host, ',
            h('code', null, 'drover login-link'),
            ' prints a new link. The first token is in ',
            h('code', null, 'admin.token'),
            ' in the state directory.',
        ),
    );
}
