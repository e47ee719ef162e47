// A client made from openapi.yaml by a generator that writes a function for each operation. It makes a
// VM and a pool, reads a list page by page, is told what was wrong, and takes both away again.
import { client } from './client/client.gen';
import { createVm, deletePool, deleteVm, getHost, getVm, listVms, patchVm, putPool } from './client';

async function main(): Promise<void> {
    const [url, token] = [process.env.DROVER_URL, process.env.DROVER_TOKEN];
    if (!url || !token) {
        throw new Error('DROVER_URL and DROVER_TOKEN say where and who');
    }
    client.setConfig({ baseUrl: url, auth: token, throwOnError: true });

    const host = (await getHost<true>()).data;
    console.log(`host ${host.cpus > 0}`);

    const body = { name: 'functions', memory_mib: 16, networks: [], vsock: false };
    const headers = { 'Idempotency-Key': 'generated-functions-1' };
    const made = (await createVm<true>({ headers, body })).data;
    const again = (await createVm<true>({ headers, body })).data;
    console.log(`made ${made.name} ${made.state}, once: ${made.id === again.id}`);

    const names: string[] = [];
    for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
        const page = (await listVms<true>({ query: { limit: 1, cursor } })).data;
        names.push(...page.items.map((vm) => vm.name));
        cursor = page.next_cursor ?? undefined;
    }
    console.log(`listed ${names.includes('functions')}`);

    const path = { vm: made.id };
    const etag = (await getVm<true>({ path })).response.headers.get('ETag') ?? '';
    const change = { description: 'changed by a generated function' };
    const changed = await patchVm<true>({ path, headers: { 'If-Match': etag }, body: change });
    console.log(changed.data.description);

    const late = await patchVm({ path, headers: { 'If-Match': etag }, body: change, throwOnError: false });
    console.log(`refused ${late.response.status} ${late.error?.code}`);
    const wrong = await createVm({ body: { name: 'functions 2' }, throwOnError: false });
    console.log(`wrong ${wrong.error?.code} ${wrong.error?.pointer}`);

    const pool = { path: { pool: 'functions' }, body: { vm: { memory_mib: 16 }, ready: 0, max: 1 } };
    console.log(`pool ${(await putPool<true>(pool)).data.status.ready}`);
    await deletePool<true>({ path: pool.path });
    const done = (await deleteVm<true>({ path, query: { wait: 60 } })).data;
    console.log(`deleted ${'state' in done ? done.state : ''}`);
}

main().catch((problem) => {
    console.error(problem);
    process.exitCode = 1;
});
