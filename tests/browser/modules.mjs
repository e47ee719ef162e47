// Modules of web/ that need no browser, on the same test list.
import { shellQuote, bytes, percent } from '../../web/src/lib/format.js';
import { Emitter } from '../../web/src/lib/emitter.js';
import { Herd } from '../../web/src/lib/herd.js';
import { EventParser, backoff } from '../../web/src/lib/sse.js';
import { countUntil, parseCast, resizeOf, schedule } from '../../web/src/console/cast.js';
import { keysOf } from '../../web/src/console/keysyms.js';
import { logPath, streamOf, streamPath, streamsOf } from '../../web/src/lib/streams.js';
import { applyPatch, changesOf, mergePatch, same } from '../../web/src/lib/mergepatch.js';
import { matcher, readFilter, sorter, writeFilter } from '../../web/src/lib/vmfilter.js';
import { eventWords } from '../../web/src/lib/eventwords.js';
import { Grown } from '../../web/src/lib/grown.js';
import { compare } from '../../web/src/lib/table.js';
import { tail } from '../../web/src/lib/wall.js';
import { execFileSync } from 'node:child_process';
import { equal, ok, test } from './harness.mjs';

const parse = (chunks) => {
    const messages = [];
    const parser = new EventParser((m) => messages.push(m));
    chunks.forEach((chunk) => parser.feed(chunk));
    return messages;
};

test('server-sent events are the same however they are cut', async () => {
    const stream =
        ': hello\n\nid: 1\ndata: {"a":1}\n\nid: 2\r\ndata: one\r\ndata: two\r\n\r\ndata:bare\n\nevent: x\nid: 9\n\nid: 3\rdata: old\r\r: keep-alive\n\ndata: cut';
    const whole = JSON.stringify(parse([stream]));
    equal(
        whole,
        JSON.stringify([
            { id: '1', data: '{"a":1}' },
            { id: '2', data: 'one\ntwo' },
            { id: '2', data: 'bare' },
            { id: '3', data: 'old' },
        ]),
        'messages',
    );
    for (let at = 0; at <= stream.length; at += 1) {
        for (let to = at; to <= stream.length; to += 7) {
            const cut = [stream.slice(0, at), stream.slice(at, to), stream.slice(to)].filter(
                Boolean,
            );
            equal(JSON.stringify(parse(cut)), whole, `cut at ${at} and ${to}`);
        }
    }
});

test('reconnecting waits longer each time, up to a limit, never in step', async () => {
    const ceilings = [500, 1000, 2000, 4000, 8000, 15000, 15000];
    ceilings.forEach((ceiling, attempt) => {
        const waits = Array.from({ length: 50 }, () => backoff(attempt));
        ok(
            waits.every((wait) => wait >= ceiling / 2 && wait <= ceiling),
            `attempt ${attempt}: ${waits}`,
        );
        ok(new Set(waits).size > 40, `attempt ${attempt} is jittered`);
    });
});

test('the command shown for copying means to a shell what the form says', async () => {
    for (const text of ["it's", '$(reboot) `id` "x" \\', "'; rm -rf /; '", 'line\nbreak', '']) {
        equal(
            execFileSync('/bin/sh', ['-c', `printf %s ${shellQuote(text)}`], { encoding: 'utf8' }),
            text,
            'echoed',
        );
    }
});

test('absent figures are a dash, not a zero', async () => {
    equal(
        [bytes(undefined), percent(null), bytes(0), percent(0), bytes(-4096), bytes(1536)].join(
            '|',
        ),
        '–|–|0 B|0.0 %|−4.0 KiB|1.5 KiB',
        'formatted',
    );
});

test('stream names become addresses and words, and nothing else does', async () => {
    equal(streamPath('id', 'channels/a.b'), '/v1/vms/id/channels/a.b', 'path');
    equal(streamPath('a/b', 'vsock/22'), '/v1/vms/a%2Fb/vsock/22', 'path');
    equal(logPath('id', 'console'), '/v1/vms/id/console/log', 'log');
    equal(logPath('id', 'serial/1'), '/v1/vms/id/console/log?stream=serial%2F1', 'log');
    equal(
        ['console', 'serial/3', 'channels/x y', 'vsock/1', 'vsock/4294967294', 'display']
            .map(streamOf)
            .join('|'),
        'console|serial/3|channels/x y|vsock/1|vsock/4294967294|display',
        'accepted',
    );
    for (const wrong of ['', 'serial/0', 'serial/4', 'vsock/0', 'vsock/4294967295', 'vsock/x']) {
        equal(streamOf(wrong), null, wrong);
    }
    for (const wrong of ['vsock/99999999999', 'channels/', 'channels/a/b', 'consoles', undefined]) {
        equal(streamOf(wrong), null, String(wrong));
    }
    equal(
        streamsOf({ display: true, serial_ports: 2, channels: ['c'] }).join('|'),
        'console|display|serial/1|channels/c',
        'of a machine',
    );
});

test('a text becomes the keys of a US keyboard', async () => {
    const keys = keysOf('aA1!\n\té');
    equal(keys.map((k) => k.code).join(' '), 'KeyA KeyA Digit1 Digit1 Enter Tab ', 'codes');
    equal(keys.map((k) => Number(k.shift)).join(''), '0101000', 'shifts');
    equal(keys.map((k) => k.keysym.toString(16)).join(' '), '61 41 31 21 ff0d ff09 e9', 'keysyms');
    equal(keysOf('€')[0].keysym, 0x10020ac, 'a keysym beyond Latin 1');
});

const CAST = [
    '{"version":2,"width":100,"height":30}',
    '[0.5,"o","a"]',
    '[10.5,"r","120x40"]',
    '[10.6,"i","typed"]',
    '[30,"o","b"]',
    '[29,"o","late"]',
    '["x","o","no time"]',
    '[31,"o","cut',
].join('\n');

test('a recording is read, however it ends', async () => {
    const cast = parseCast(CAST);
    equal(`${cast.columns}x${cast.rows}`, '100x30', 'size');
    equal(cast.events.map((e) => e.kind).join(''), 'orioo', 'kinds');
    equal(cast.events.at(-1).time, 30, 'a clock that went back');
    equal(parseCast('{"version":2}').events.length, 0, 'events of an empty one');
    for (const bad of ['', '[]', '{"version":1}', 'null', 'x']) {
        let refused = false;
        try {
            parseCast(bad);
        } catch {
            refused = true;
        }
        ok(refused, `refused: ${bad}`);
    }
    equal(resizeOf(cast.events[1]).columns, 120, 'columns of a resize');
    for (const data of ['0x5', '5x0', 'x', '1000x1000', '5x5x5']) {
        equal(resizeOf({ kind: 'r', data }), null, data);
    }
    for (let at = CAST.indexOf('\n'); at <= CAST.length; at += 1) {
        ok(parseCast(CAST.slice(0, at)).events.length <= 5, `cut at ${at}`);
    }
});

test('long pauses of a recording are cut short, and a moment is found', async () => {
    const { events } = parseCast(CAST);
    const cut = [...schedule(events, 2)].map((t) => t.toFixed(1)).join(' ');
    equal(cut, '0.5 2.5 2.6 4.6 4.6', 'moments');
    equal([...schedule(events, 0)].join(' '), '0.5 10.5 10.6 30 30', 'uncut');
    const times = schedule(events, 0);
    equal(
        [-1, 0.5, 10.5, 11, 30, 99].map((t) => countUntil(times, t)).join(' '),
        '0 1 2 3 5 5',
        'counts',
    );
});

test('an answer that was on its way does not bring a deleted machine back', async () => {
    const vm = { id: 'a', name: 'a', updated_at: '1', state: 'running' };
    const before = [globalThis.fetch, globalThis.document];
    let answer;
    globalThis.document = { addEventListener() {}, visibilityState: 'hidden' };
    globalThis.fetch = () =>
        new Promise((resolve) => {
            const body = JSON.stringify({ ...vm, state: 'deleting' });
            answer = () => resolve({ ok: true, text: async () => body });
        });
    const live = new Emitter();
    const herd = new Herd(live);
    herd.put(vm);
    const about = { subject: { kind: 'vm', id: 'a' }, data: { state: 'deleting' } };
    const begun = { ...about, data: { state: 'stopping' } };
    live.emit('event', { ...begun, type: 'vm.state' });
    live.emit('event', { ...about, type: 'vm.deleted' });
    answer();
    await new Promise((resolve) => setImmediate(resolve));
    equal(herd.vms.size, 0, 'machines');
    herd.stop();
    [globalThis.fetch, globalThis.document] = before;
});

test('what the list says of a machine that is known already is told, as an event would be', async () => {
    const vms = ['a', 'b', 'c'].map((id) => ({ id, name: id, updated_at: '1', state: 'starting' }));
    const items = [vms[0], { ...vms[1], updated_at: '2', state: 'running' }, { ...vms[2], updated_at: '0' }];
    const { fetch, document, location } = globalThis;
    Object.assign(globalThis, {
        document: { addEventListener() {}, visibilityState: 'hidden' },
        location: new URL('http://localhost/'),
        fetch: async () => ({
            ok: true,
            text: async () => JSON.stringify({ items, next_cursor: null }),
        }),
    });
    const herd = new Herd(new Emitter());
    const told = [];
    try {
        vms.forEach((vm) => herd.put(vm));
        herd.on('vm', (id) => told.push(`${id} ${herd.vms.get(id).state}`));
        await herd.reload();
    } finally {
        herd.stop();
        Object.assign(globalThis, { fetch, document, location });
    }
    equal(told.join(), 'b running', 'told');
});

test('a history grows by what is measured, forgets its beginning and admits a gap', async () => {
    const past = new Grown(
        {
            step_seconds: 10,
            times: [100, 110],
            figures: { cpu: { mean: [1, 2], min: [1, 2], max: [1, 2] } },
        },
        60,
    );
    const { answer } = past;
    ok(past.add(112, { cpu: 4 }), 'in the last step');
    equal(JSON.stringify(answer.figures.cpu), '{"mean":[1,3],"min":[1,2],"max":[1,4]}', 'its figures');
    ok(past.add(133, { cpu: 5, other: 7 }), 'two steps later');
    equal(answer.times.join(), '100,110,120,130', 'times');
    equal(JSON.stringify(answer.figures.cpu.mean), '[1,3,null,5]', 'what was not measured is a gap');
    equal(JSON.stringify(answer.figures.other.mean), '[null,null,null,7]', 'a figure that is new');
    ok(past.add(165, { cpu: 6 }), 'a minute after the beginning');
    equal(answer.times[0], 110, 'the first that is left');
    ok(
        Object.values(answer.figures.cpu).every((column) => column.length === answer.times.length),
        'columns are as long as the times',
    );
    ok(!past.add(1000, { cpu: 1 }), 'too long ago: it has to be asked for again');
});

test('figures are put in order as numbers, words as words, what is not known last', async () => {
    const order = (list, down) => [...list].sort((a, b) => compare(a, b, down)).join();
    equal(order([10, 9, null, 100], false), '9,10,100,', 'upwards');
    equal(order([10, null, 9, 100], true), '100,10,9,', 'downwards');
    equal(order(['b', 'a', 'b10'], false), 'a,b,b10', 'words');
});

test('a patch says exactly what differs', async () => {
    const values = [1, 'x', null, [1], [{ a: 1 }], { a: 1 }, { a: { b: 2 }, c: [] }, {}];
    const definitions = values.flatMap((left) =>
        values.map((right) => ({ name: 'n', left, right, labels: { a: 'b', c: 'd' } })),
    );
    for (const from of definitions) {
        equal(JSON.stringify(mergePatch(from, from)), '{}', 'nothing differs');
        for (const to of definitions) {
            const patch = mergePatch(from, to);
            const bare = (v) =>
                JSON.parse(JSON.stringify(v, (k, m) => (m === null ? undefined : m)));
            ok(
                same(bare(applyPatch(from, patch)), bare(to)),
                `${JSON.stringify(from)} to ${JSON.stringify(to)} by ${JSON.stringify(patch)}`,
            );
        }
    }
    const { a, ...rest } = { a: 1, b: { c: 1, d: 2 } };
    const patch = mergePatch({ a, ...rest }, { b: { c: 3, d: 2 }, e: 4 });
    equal(JSON.stringify(patch), '{"a":null,"b":{"c":3},"e":4}', 'taken out, changed, put in');
    equal(
        changesOf({ a, ...rest }, patch)
            .map(([at, before, after]) => `${at} ${before} ${after}`)
            .join('|'),
        '/a 1 undefined|/b/c 1 3|/e undefined 4',
        'changes',
    );
});

test('a filter is what the address says, and back', async () => {
    for (const query of [
        '',
        'q=a+b&state=running',
        'label=a%3Db%26c&sort=cpu',
        'sort=name&order=down',
    ]) {
        const filter = readFilter(query);
        equal(
            JSON.stringify(readFilter(writeFilter(filter))),
            JSON.stringify(filter),
            `there and back: ${query}`,
        );
    }
    equal(readFilter('sort=constructor&order=x').sort, 'name', 'an order that is none');
    const vms = [
        { id: '1', name: 'b', state: 'running', labels: { tier: 'web' } },
        { id: '2', name: 'a', state: 'stopped', labels: { tier: 'db', env: '' } },
        { id: '3', name: 'c', state: 'running' },
    ];
    const names = (query, figures = () => null) => {
        const filter = readFilter(query);
        return vms
            .filter(matcher(filter))
            .sort(sorter(filter, figures))
            .map((vm) => vm.name)
            .join('');
    };
    equal(names(''), 'abc', 'by name');
    equal(names('order=down'), 'cba', 'by name, downwards');
    equal(names('q=RUNNING+tier%3Dweb'), 'b', 'by words');
    equal(names('label=env'), 'a', 'by a label without a value');
    equal(names('state=running&label=tier%3Dweb'), 'b', 'by state and label');
    const cpu = { 1: 5, 3: 50 };
    const figures = (id) => cpu[id] && { cpu: { usage_percent: cpu[id] } };
    equal(names('sort=cpu', figures), 'cba', 'the busiest first, those without figures last');
});

test('what a console printed last, as lines', async () => {
    equal(tail('one\r\ntwo\r\n\r\n'), 'one\ntwo', 'line ends');
    equal(tail('10 %\r50 %\r100 %\ndone'), '100 %\ndone', 'a line that began again');
    equal(tail(''), '–', 'nothing');
    equal(tail('x\n'.repeat(100)).split('\n').length, 14, 'lines');
    equal(tail('y'.repeat(1000)).length, 100, 'columns');
});

test('every event is a sentence, also one that is not known', async () => {
    const subject = { kind: 'vm', id: 'x', name: 'x' };
    const say = (type, data) => eventWords({ type, data, subject });
    equal(
        say('vm.state', { previous: 'starting', state: 'running', reason: 'started' }),
        'starting → running, started',
        'a state',
    );
    equal(say('vm.ready', { boot_ms: 1500 }), 'ready, after 1.5 s', 'ready');
    equal(
        say('operation.finished', { kind: 'vm.start', state: 'failed', error_code: 'timeout' }),
        'start failed, timeout',
        'an operation',
    );
    equal(
        say('console.control', { stream: 'console', viewer: '', how: 'left' }),
        'console: the keyboard is free (left)',
        'a keyboard',
    );
    equal(say('moon.landed', undefined), 'landed', 'one of a newer daemon');
});
