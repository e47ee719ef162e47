// A stretch of network between browser and daemon that can be cut, be slow, or have a clock that is wrong.
import http from 'node:http';
import net from 'node:net';
import { env } from './harness.mjs';

export async function startProxy() {
    const daemon = new URL(env.url);
    const fault = { down: false, holding: false, skewMs: 0 };
    const sockets = new Set();
    const held = new Set(); /* answers that wait until the network is quick again */
    const upstream = (headers) => ({
        ...headers,
        host: daemon.host,
        ...(headers.origin && { origin: daemon.origin }),
        ...(headers.referer && { referer: `${daemon.origin}/` }),
    });
    const server = http.createServer((request, response) => {
        const forward = () => {
            const onward = http.request(
                {
                    host: daemon.hostname,
                    port: daemon.port,
                    method: request.method,
                    path: request.url,
                    headers: upstream(request.headers),
                },
                (answer) => {
                    const headers = { ...answer.headers };
                    if (headers.date && fault.skewMs) {
                        headers.date = new Date(
                            Date.parse(headers.date) + fault.skewMs,
                        ).toUTCString();
                    }
                    response.writeHead(answer.statusCode, headers);
                    response.flushHeaders(); /* a stream of events may say nothing for long */
                    answer.pipe(response);
                },
            );
            onward.on('error', () => response.destroy());
            response.on('close', () => onward.destroy());
            request.pipe(onward);
        };
        if (fault.holding && request.url.startsWith('/v1/')) {
            held.add(forward);
        } else {
            forward();
        }
    });
    server.on('upgrade', (request, socket, head) => {
        const onward = net.connect(Number(daemon.port), daemon.hostname, () => {
            const headers = Object.entries(upstream(request.headers));
            onward.write(
                [
                    `${request.method} ${request.url} HTTP/1.1`,
                    ...headers.map(([name, value]) => `${name}: ${value}`),
                    '',
                    '',
                ].join('\r\n'),
            );
            onward.write(head);
            socket.pipe(onward).pipe(socket);
        });
        sockets.add(onward);
        const end = () => [onward, socket].forEach((s) => s.destroy());
        [onward, socket].forEach((s) => s.on('error', end).on('close', end));
    });
    server.on('connection', (socket) => {
        if (fault.down) {
            socket.destroy();
            return;
        }
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
        url: `http://127.0.0.1:${server.address().port}`,
        cut() {
            fault.down = true;
            sockets.forEach((socket) => socket.destroy());
        },
        mend() {
            fault.down = false;
        },
        hold() {
            fault.holding = true;
        },
        release() {
            fault.holding = false;
            held.forEach((forward) => forward());
            held.clear();
        },
        skew(ms) {
            fault.skewMs = ms;
        },
        stop() {
            sockets.forEach((socket) => socket.destroy());
            server.close();
        },
    };
}
