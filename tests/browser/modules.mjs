// Modules of web/ that need no browser, on the same test list.
import { shellQuote, bytes, percent } from '../../web/src/lib/format.js';
import { EventParser, backoff } from '../../web/src/lib/sse.js';
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
