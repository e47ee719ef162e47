/* Fields of a new machine about what runs in it: who may enter, what it does first, when it is ready. */
import { h } from './dom.js';
import { field } from './forms.js';
import { textInput } from './inputs.js';

const area = (props) =>
    h('textarea', { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', ...props });

export const insideFields = () => ({
    keys: field({
        label: 'SSH keys',
        pointer: '/ssh_keys',
        help: 'Public keys, a line each. cloud-init lets them in as the default user, systemd as root.',
        control: area({ rows: 3, placeholder: 'ssh-ed25519 AAAA… me@laptop' }),
    }),
    userData: field({
        label: 'User data',
        pointer: '/user_data',
        help: 'For cloud-init, passed on as it is: #cloud-config, a script, or several parts.',
        control: area({ rows: 6, maxlength: 262144, placeholder: '#cloud-config' }),
    }),
    pattern: field({
        label: 'It is ready when its console prints',
        pointer: '/ready_pattern',
        help: 'Byte for byte. Empty: the guest says so itself over vsock, as systemd does.',
        control: textInput({ maxlength: 128, placeholder: 'login:' }),
    }),
    merge: field({
        label: 'Its memory may be merged with that of others',
        pointer: '/memory_merge',
        control: h('input', { type: 'checkbox', checked: true }),
    }),
});
