/* What an event says, in a sentence without its subject. Pure; types it does not know stay readable. */
const WORDS = {
    'vm.created': 'created',
    'vm.changed': 'definition changed',
    'vm.rebooted': 'rebooted',
    'vm.deleted': 'deleted',
    'vm.frozen': 'file systems frozen',
    'vm.thawed': 'file systems thawed',
    'vm.reimaged': 'disks replaced',
    'image.created': 'created',
    'image.ready': 'ready',
    'image.failed': 'import failed',
    'image.deleted': 'deleted',
    'image.retired': 'retired',
    'image.labelled': 'label moved',
    'token.created': 'made',
    'token.changed': 'changed',
    'token.revoked': 'revoked',
    'ticket.created': 'share link made',
    'ticket.revoked': 'share link revoked',
    'recording.started': 'recording started',
    'recording.finished': 'recording finished',
    'recording.deleted': 'recording deleted',
    'daemon.started': 'Drover started',
    'lease.queued': 'waits for its turn',
    'lease.claimed': 'claimed',
    'lease.renewed': 'renewed',
    'lease.ended': 'ended',
};
const KINDS = {
    'image.import': 'import',
    'image.publish': 'publishing',
    'image.verify': 'check of its bytes',
};

export function operationWords(kind) {
    return KINDS[kind] ?? String(kind ?? '').replace(/^(vm|set)\./, '');
}

export function eventWords(event) {
    const data = event.data ?? {};
    const list = (...parts) => parts.filter(Boolean).join(', ');
    switch (event.type) {
        case 'vm.state':
            return list([data.previous, data.state].filter(Boolean).join(' → '), data.reason);
        case 'vm.ready':
            return list('ready', data.boot_ms && `after ${(data.boot_ms / 1000).toFixed(1)} s`);
        case 'operation.started':
            return `${operationWords(data.kind)} began`;
        case 'operation.finished':
            return list(`${operationWords(data.kind)} ${data.state}`, data.error_code);
        case 'host.libvirt':
            return list(data.up ? 'libvirt is connected' : 'libvirt is lost', data.reason);
        case 'console.attached': {
            const how = data.mode === 'view' ? ' to watch' : '';
            return `${data.stream} opened by ${data.name || 'somebody'}${how}`;
        }
        case 'console.detached':
            return `${data.stream} left by ${data.name || 'somebody'}`;
        case 'console.control':
            return data.viewer
                ? `${data.stream}: the keyboard is with ${data.name} (${data.how})`
                : `${data.stream}: the keyboard is free (${data.how})`;
        case 'ksm.tuner':
            return list('KSM tuner', data.phase, data.reason);
        case 'ksm.configured':
            return list('KSM settings changed', data.reason);
        default: {
            const words = WORDS[event.type] ?? event.type.split('.').slice(1).join(' ');
            return list(words, data.stream, data.holder, data.reason);
        }
    }
}

/* The page of what an event is about; null when there is none. */
export function subjectHref({ kind, name }) {
    const at = encodeURIComponent(name ?? '');
    const pages = {
        vm: `#/vms/${at}`,
        set: `#/sets/${at}`,
        image: '#/images',
        pool: '#/pools',
        lease: '#/leases',
        token: '#/tokens',
        host: '#/host',
    };
    return pages[kind] ?? null;
}
