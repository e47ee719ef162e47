/* What the guest agent does for whoever looks after a machine: freeze, clock, passwords, keys. Loaded with its panel. */
import { post } from './api.js';
import { formSheet } from './dialog.js';
import { h, setHidden, setText } from './dom.js';
import { field } from './forms.js';
import { clock, plural } from './format.js';
import { numberInput, textInput } from './inputs.js';
import { announce, showProblem } from './notify.js';

const USER = '[A-Za-z0-9._][A-Za-z0-9._\\-]{0,31}';

export function careRow({ vm, session, signal }) {
    const path = `/v1/vms/${encodeURIComponent(vm.id)}/agent`;
    const mayWrite = session.can('vm:write');
    const mayEnter = session.can('vm:exec');
    const said = h('p', { class: 'help', role: 'status' });
    const thaw = button('Thaw', thawNow);
    let timer = null;
    signal.addEventListener('abort', () => clearTimeout(timer));
    setHidden(thaw, true);

    function tell(words) {
        setText(said, words);
        announce(words);
    }

    async function tried(words, doIt) {
        try {
            await doIt();
        } catch (problem) {
            showProblem(`${words} did not work`, problem);
        }
    }

    async function freeze() {
        const seconds = field({
            label: 'For at most so many seconds',
            pointer: '/seconds',
            help: 'Then they are thawed by themselves.',
            control: numberInput(30, 1, 600, { value: '30' }),
        });
        let frozen = null;
        const sent = await formSheet({
            title: `Freeze the file systems of ${vm.name}`,
            body: h(
                'p',
                null,
                'What programs wrote is put on the disks, and nothing more is written until they are thawed: for a copy of the disks that is whole. Programs that write wait so long.',
            ),
            fields: [seconds],
            action: 'Freeze',
            async send() {
                frozen = await post(`${path}/freeze`, { seconds: Number(seconds.control.value) });
            },
        });
        if (sent) {
            tell(
                `${plural(frozen.filesystems, 'file system')} frozen, until ${clock(frozen.thaws_at)} at the latest.`,
            );
            setHidden(thaw, false);
            clearTimeout(timer);
            timer = setTimeout(
                () => {
                    setHidden(thaw, true);
                    setText(said, '');
                },
                Number(seconds.control.value) * 1000,
            );
        }
    }

    async function thawNow() {
        await tried('Thawing', async () => {
            const { filesystems } = await post(`${path}/thaw`);
            clearTimeout(timer);
            setHidden(thaw, true);
            tell(`${plural(filesystems, 'file system')} thawed.`);
        });
    }

    const setTime = () =>
        tried('Setting its clock', async () => {
            await post(`${path}/time`);
            tell('Its clock is that of the host now.');
        });

    const userField = (pointer) =>
        field({
            label: 'User',
            pointer,
            control: textInput({ required: true, maxlength: 32, pattern: USER, value: 'root' }),
        });

    async function password() {
        const user = userField('/user');
        const secret = field({
            label: 'New password',
            pointer: '/password',
            help: 'It is not kept and not shown again.',
            control: h('input', {
                type: 'password',
                required: true,
                maxlength: 512,
                autocomplete: 'new-password',
            }),
        });
        const hash = field({
            label: 'This is a hash already, as crypt(3) gives it',
            pointer: '/crypted',
            control: h('input', { type: 'checkbox' }),
        });
        const sent = await formSheet({
            title: `Set a password in ${vm.name}`,
            body: h('p', null, 'The password that the user had works no longer.'),
            fields: [user, secret, hash],
            action: 'Set the password',
            send: () =>
                post(`${path}/password`, {
                    user: user.control.value,
                    password: secret.control.value,
                    crypted: hash.control.checked,
                }),
        });
        if (sent) {
            tell(`${user.control.value} has the new password.`);
        }
    }

    async function keys() {
        const user = userField('/user');
        const lines = field({
            label: 'Public keys, a line each',
            pointer: '/keys',
            control: h('textarea', {
                rows: 4,
                required: true,
                spellcheck: 'false',
                autocomplete: 'off',
                placeholder: 'ssh-ed25519 AAAA… me@laptop',
            }),
        });
        const only = field({
            label: 'Only these: all others of this user are taken away',
            pointer: '/replace',
            control: h('input', { type: 'checkbox' }),
        });
        const sent = await formSheet({
            title: `Let SSH keys into ${vm.name}`,
            fields: [user, lines, only],
            action: 'Let them in',
            send: () =>
                post(`${path}/ssh-keys`, {
                    user: user.control.value,
                    keys: lines.control.value
                        .split('\n')
                        .map((line) => line.trim())
                        .filter(Boolean),
                    replace: only.control.checked,
                }),
        });
        if (sent) {
            tell(`${user.control.value} may be entered with these keys.`);
        }
    }

    return (
        (mayWrite || mayEnter) &&
        h(
            'div',
            { class: 'stack' },
            h(
                'div',
                { class: 'button-row' },
                mayWrite && [button('Freeze …', freeze), thaw, button('Set the clock', setTime)],
                mayEnter && [button('Password …', password), button('SSH keys …', keys)],
            ),
            said,
        )
    );
}

function button(text, onclick) {
    return h('button', { type: 'button', class: 'button small', onclick }, text);
}
