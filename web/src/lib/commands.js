/* What the form for a new machine says, for a shell. Pure but for the address of the server. */
import { shellQuote } from './format.js';

const here = () => globalThis.location?.origin ?? 'http://127.0.0.1:8460';

/* Quotes only what a shell would read otherwise. */
function word(text) {
    return /^[\w.,:=/@%+-]+$/.test(text) ? text : shellQuote(text);
}

export function curlLine(body, origin = here()) {
    return [
        `curl -X POST ${origin}/v1/vms`,
        '-H "Authorization: Bearer $DROVER_TOKEN"',
        "-H 'Content-Type: application/json'",
        `-d ${shellQuote(JSON.stringify(body))}`,
    ].join(' \\\n  ');
}

const OPTIONS = [
    ['image', 'image'],
    ['cpus', 'cpus'],
    ['memory_mib', 'memory'],
    ['root_disk_gib', 'disk'],
    ['description', 'description'],
    ['acceleration', 'acceleration'],
    ['firmware', 'firmware'],
    ['serial_ports', 'serial-ports'],
    ['ready_pattern', 'ready-pattern'],
    ['on_host_shutdown', 'on-host-shutdown'],
    ['host_shutdown_seconds', 'host-shutdown-seconds'],
];
const FLAGS = [
    ['display', 'display'],
    ['record_console', 'record-console'],
    ['autostart', 'autostart'],
    ['start', 'start'],
];

export function droverLine(body, origin = here()) {
    const lines = [`drover vm create ${word(body.name || 'NAME')} --url ${origin}`];
    const put = (option, value) => lines.push(`--${option} ${word(String(value))}`);
    for (const [member, option] of OPTIONS) {
        if (body[member] !== undefined) {
            put(option, body[member]);
        }
    }
    Object.entries(body.labels ?? {}).forEach(([key, value]) => put('label', `${key}=${value}`));
    const networks = (body.networks ?? []).map(({ mode, source }) =>
        source ? `${mode}=${source}` : mode,
    );
    (networks.length ? networks : ['none']).forEach((mode) => put('network', mode));
    (body.channels ?? []).forEach((channel) => put('channel', channel));
    (body.disks ?? []).forEach((disk) => put('add-disk', disk.size_gib));
    (body.ssh_keys ?? []).forEach((key) => put('ssh-key', key));
    if (body.memory_merge === false) {
        lines.push('--no-merge');
    }
    lines.push(
        FLAGS.filter(([member]) => body[member])
            .map(([, flag]) => `--${flag}`)
            .join(' '),
    );
    const command = () => lines.filter(Boolean).join(' \\\n  ');
    if (body.user_data === undefined) {
        return command();
    }
    lines.push('--user-data -');
    return `printf %s ${shellQuote(body.user_data)} | ${command()}`;
}

export function curlPatch(vm, etag, patch, origin = here()) {
    return [
        `curl -X PATCH ${origin}/v1/vms/${encodeURIComponent(vm.id)}`,
        '-H "Authorization: Bearer $DROVER_TOKEN"',
        `-H 'If-Match: "${etag}"'`,
        "-H 'Content-Type: application/merge-patch+json'",
        `-d ${shellQuote(JSON.stringify(patch))}`,
    ].join(' \\\n  ');
}
