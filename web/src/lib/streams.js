/* The byte streams of a VM: their names, their addresses, their words. Pure. */

/* "console", "serial/1", "channels/org.example.0", "vsock/22", "display". */
export function streamPath(vmId, stream) {
    const [kind, ...rest] = stream.split('/');
    const name = rest.join('/');
    return `/v1/vms/${encodeURIComponent(vmId)}/${kind}${name && `/${encodeURIComponent(name)}`}`;
}

export function logPath(vmId, stream) {
    const path = `/v1/vms/${encodeURIComponent(vmId)}/console/log`;
    return stream === 'console' ? path : `${path}?stream=${encodeURIComponent(stream)}`;
}

export function streamTitle(stream) {
    const [kind, ...rest] = stream.split('/');
    const name = rest.join('/');
    switch (kind) {
        case 'console':
            return 'Console';
        case 'serial':
            return `Serial ${name}`;
        case 'channels':
            return `Channel ${name}`;
        case 'vsock':
            return `vsock ${name}`;
        case 'display':
            return 'Display';
        default:
            return stream;
    }
}

/* Each client has a guest connection of its own: nothing to replay, nobody to share it with. */
export function isPipe(stream) {
    return stream.startsWith('vsock/') || stream === 'display';
}

/* No terminal line in the guest echoes what is typed there or turns Enter into a line end. */
export function isPlain(stream) {
    return stream.startsWith('vsock/') || stream.startsWith('channels/');
}

/* What this VM has, in the order in which it is offered. vsock ports are asked for. */
export function streamsOf(vm) {
    const serial = Array.from({ length: (vm.serial_ports ?? 1) - 1 }, (_, i) => `serial/${i + 1}`);
    return [
        'console',
        ...(vm.display ? ['display'] : []),
        ...serial,
        ...(vm.channels ?? []).map((name) => `channels/${name}`),
    ];
}

/* The stream that an address like #/vms/NAME/serial/1 names; null: none. */
export function streamOf(text) {
    const decoded = text ?? '';
    if (/^(console|display|serial\/[1-3]|channels\/[^/]+)$/.test(decoded)) {
        return decoded;
    }
    const port = /^vsock\/(\d{1,10})$/.exec(decoded)?.[1];
    return port && validPort(Number(port)) ? `vsock/${Number(port)}` : null;
}

export function validPort(port) {
    return Number.isInteger(port) && port >= 1 && port < 2 ** 32 - 1;
}

/* The page of a stream, for links. */
export function streamHref(vmName, stream) {
    const [kind, ...rest] = stream.split('/');
    const name = rest.length ? `/${encodeURIComponent(rest.join('/'))}` : '';
    return `#/vms/${encodeURIComponent(vmName)}/${kind}${name}`;
}
