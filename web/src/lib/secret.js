/* A secret that is shown this once. */
import { copyButton } from './clipboard.js';
import { h, replace } from './dom.js';

/* In `place`; what: 'the token', for the button's name. */
export function showSecret(place, title, secret, what) {
    const code = h('code', { class: 'secret' }, secret);

    replace(
        place,
        h(
            'div',
            { class: 'notice notice-good' },
            h('p', null, h('strong', null, title)),
            h('p', null, code, ' ', copyButton(code, what)),
            h('p', { class: 'help' }, 'Copy it now: it is not kept and cannot be shown again.'),
        ),
    );
    place.scrollIntoView({ block: 'nearest' });
}
