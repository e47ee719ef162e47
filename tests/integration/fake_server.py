"""An HTTP and WebSocket server whose answers a test writes down: for what a real daemon does only on
a bad day (break off, answer late, lie)."""

import base64
import contextlib
import hashlib
import http.server
import json
import socket
import struct
import threading

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Request:
    def __init__(self, handler, body):
        self.method, self.headers, self.body = handler.command, handler.headers, body
        self.path = handler.requestline.split()[1] # handler.path is already tidied up
        self.handler = handler

    def json(self, value, status=200, kind="application/json"):
        data = json.dumps(value).encode()
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def problem(self, status, code, **members):
        self.json({"type": f"/problems/{code}", "title": f"Title of {code}", "status": status, "code": code,
                   "detail": f"detail of {code}", "instance": "urn:drover:request:req-1", **members},
                  status, "application/problem+json")

    def stream(self, kind="text/event-stream"):
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()
        self.handler.close_connection = True
        return self.handler.wfile

    def upgrade(self, subprotocol=None):
        accept = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + GUID).encode()).digest()).decode()
        self.handler.send_response(101)
        self.handler.send_header("Upgrade", "websocket")
        self.handler.send_header("Connection", "Upgrade")
        self.handler.send_header("Sec-WebSocket-Accept", accept)
        if subprotocol:
            self.handler.send_header("Sec-WebSocket-Protocol", subprotocol)
        self.handler.end_headers()
        self.handler.close_connection = True
        return Socket(self.handler)


class Socket:
    """The server's end of a WebSocket, as far as tests need it."""

    def __init__(self, handler):
        self.read, self.write = handler.rfile, handler.wfile

    def send(self, data, opcode=2):
        head = bytes([0x80 | opcode])
        head += bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.write.write(head + data)
        self.write.flush()

    def control(self, **message):
        self.send(json.dumps(message).encode(), 1)

    def close(self, code, reason=b""):
        self.send(struct.pack(">H", code) + reason, 8)
        with contextlib.suppress(OSError, IndexError):
            self.read.read(1)

    def receive(self):
        """(opcode, data) of the next frame; (8, b"") at the end."""
        head = self.read.read(2)
        if len(head) < 2:
            return 8, b""
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", self.read.read(2))[0]
        mask = self.read.read(4)
        return head[0] & 0xF, bytes(b ^ mask[i % 4] for i, b in enumerate(self.read.read(length)))


class UnixServer(http.server.ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("local", 0)


class FakeServer:
    """`answer(request)` is called for each request, on a thread of its own. Listens on a port, or at
    `path` when given."""

    def __init__(self, answer, path=None):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *_):
                pass

            def read_body(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def serve(self):
                if self.headers.get("Expect"):
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request = Request(self, self.read_body())
                outer.requests.append(request)
                with contextlib.suppress(OSError):
                    answer(request)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        if path:
            Handler.disable_nagle_algorithm = False
            self.server = UnixServer(str(path), Handler)
        else:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "" if path else f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
