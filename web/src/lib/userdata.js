/* The user data of a VM: read, and given anew. It may hold secrets, so it is read only when asked for. Loaded on demand. */
import { request, toProblem } from './api.js';
import { formSheet } from './dialog.js';
import { h } from './dom.js';
import { field } from './forms.js';
import { announce, showProblem } from './notify.js';
import { here } from './place.js';

/* '' where there is none. */
async function read(vm) {
    const response = await fetch(here(`/v1/vms/${encodeURIComponent(vm.id)}/user-data`), {
        credentials: 'same-origin',
        cache: 'no-store',
    });
    if (response.ok) {
        return response.text();
    }
    throw toProblem(response, await response.json().catch(() => undefined));
}

export async function userDataSheet({ vm, herd }) {
    let before = '';
    try {
        before = vm.has_user_data ? await read(vm) : '';
    } catch (problem) {
        showProblem(`Reading the user data of ${vm.name} did not work`, problem);
        return;
    }
    const text = field({
        label: 'User data',
        pointer: '/user_data',
        help: 'For cloud-init, passed on as it is: #cloud-config, a script, or several parts. Empty: none.',
        control: h('textarea', {
            rows: 12,
            class: 'editor',
            maxlength: 262144,
            spellcheck: 'false',
            autocomplete: 'off',
            autocapitalize: 'none',
        }),
    });
    text.control.value = before;
    const sent = await formSheet({
        title: `User data of ${vm.name}`,
        body: h(
            'p',
            { class: 'help' },
            'cloud-init reads it at a boot; most of it is done at the first boot of a disk only.',
        ),
        fields: [text],
        action: 'Save',
        async send() {
            const now = await request('PATCH', `/v1/vms/${encodeURIComponent(vm.id)}`, {
                headers: { 'If-Match': `"${vm.etag}"` },
                body: { user_data: text.control.value || null },
            });
            herd.put(now);
        },
    });
    if (sent) {
        announce(`The user data of ${vm.name} is changed`);
    }
}
