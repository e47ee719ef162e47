// A client made from openapi.yaml, in strict TypeScript: what this file may write is what the contract
// says. It makes a VM, waits for its console, changes it, is refused, and deletes it.
import createClient from 'openapi-fetch';
import type { components, paths } from './schema.js';

type Problem = components['schemas']['Problem'];
type Vm = components['schemas']['Vm'];

const [url, token] = [process.env.DROVER_URL, process.env.DROVER_TOKEN];
if (!url || !token) {
    throw new Error('DROVER_URL and DROVER_TOKEN say where and who');
}
const api = createClient<paths>({
    baseUrl: url,
    headers: { Authorization: `Bearer ${token}` },
});

function must<T>(answer: { data?: T; error?: Problem; response: Response }): T {
    if (answer.error) {
        throw new Error(`${answer.error.code}: ${answer.error.detail ?? answer.error.title}`);
    }
    return answer.data as T;
}

const made = must(
    await api.POST('/v1/vms', {
        params: {
            query: { wait: 'console', timeout: 120 },
            header: { 'Idempotency-Key': 'generated-client-1' },
        },
        body: {
            name: 'typed',
            image: 'hello',
            memory_mib: 16,
            acceleration: 'emulated',
            networks: [],
            start: true,
            labels: { 'made.by': 'openapi-typescript' },
        },
    }),
);
console.log(`made ${made.name} ${made.state}`);

let cursor: string | undefined;
const names: Vm['name'][] = [];
do {
    const page = must(await api.GET('/v1/vms', { params: { query: { limit: 1, cursor } } }));
    names.push(...page.items.map((vm) => vm.name));
    cursor = page.next_cursor ?? undefined;
} while (cursor);
console.log(`listed ${names.includes('typed')}`);

const one = { path: { vm: made.id } };
const read = await api.GET('/v1/vms/{vm}', { params: one });
const etag = read.response.headers.get('ETag') ?? '';
const changed = must(
    await api.PATCH('/v1/vms/{vm}', {
        params: { ...one, header: { 'If-Match': etag } },
        body: { description: 'changed by a generated client' },
        headers: { 'Content-Type': 'application/merge-patch+json' },
    }),
);
console.log(`changed ${changed.description}`);

const late = await api.PATCH('/v1/vms/{vm}', {
    params: { ...one, header: { 'If-Match': etag } },
    body: { description: 'too late' },
    headers: { 'Content-Type': 'application/merge-patch+json' },
});
console.log(`refused ${late.response.status} ${late.error?.code}`);

const done = must(
    await api.DELETE('/v1/vms/{vm}', { params: { ...one, query: { force: true, wait: 60 } } }),
);
console.log(`deleted ${'state' in done ? done.state : ''}`);
