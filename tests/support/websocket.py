"""A WebSocket client (RFC 6455) for tests: blocking, no extensions, no reconnecting."""
import base64
import hashlib
import os
import socket
import struct
import time
from urllib.parse import urlsplit

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server answered the handshake with something other than 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body[:300]!r}")
        self.status, self.headers, self.body = status, headers, body


class WebSocket:
    def __init__(self, url, headers=None, subprotocols=(), timeout=30, observe=None, context=None):
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout)
        if parts.scheme == "wss":
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        self.buffer, self.timeout = b"", timeout
        self.close_code = None
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items() if v is not None]
        if subprotocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        status, answered = self._head()
        found = {k.lower(): v for k, v in answered}
        body = self._take(int(found.get("content-length", 0))) if status != 101 else b""
        if status != 101:
            self.socket.close()
        if observe:
            observe(target, status, answered, body)
        if status != 101:
            raise Refused(status, found, body)
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        assert found["sec-websocket-accept"] == accept
        self.subprotocol = found.get("sec-websocket-protocol")

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            chunk = self.socket.recv(65536)
            assert chunk, f"closed in the handshake: {self.buffer!r}"
            self.buffer += chunk
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        return int(first.split(" ")[1]), [list(map(str.strip, line.split(":", 1))) for line in lines]

    def _take(self, count):
        while len(self.buffer) < count:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise ConnectionError(f"closed with {len(self.buffer)} of {count} bytes")
            self.buffer += chunk
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def send(self, data, kind=None):
        kind = kind or (TEXT if isinstance(data, str) else BINARY)
        data = data.encode() if isinstance(data, str) else data
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x80 | kind])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        self.socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def _frame(self):
        first, second = self._take(2)
        size = second & 0x7f
        if size == 126:
            size = struct.unpack(">H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._take(8))[0]
        assert not second & 0x80, "a server's frame is masked"
        return first & 0x80, first & 0x0f, self._take(size)

    def receive(self):
        """(kind, data) of the next message, or None once the server has closed."""
        message, kind = b"", None
        end = time.monotonic() + self.timeout
        while True:
            final, opcode, data = self._frame()
            if opcode == CLOSE:
                self.close_code = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                try:
                    self.send(data[:2], CLOSE)
                except OSError:
                    pass  # it need not wait for our answer
                return None
            if opcode == PING:
                self.send(data, PONG)
                if time.monotonic() > end:  # pings are no message
                    raise TimeoutError(f"no message within {self.timeout} s")
                continue
            if opcode == PONG:
                continue
            kind = kind or opcode
            message += data
            if final:
                return kind, message

    def expect(self, pattern):
        """Reads until the bytes have come by; everything read."""
        seen = b""
        while pattern not in seen:
            message = self.receive()
            assert message, f"closed with {self.close_code} after {seen[-400:]!r}"
            seen += message[1]
        return seen

    def close(self, code=1000):
        try:
            self.send(struct.pack(">H", code), CLOSE)
        except OSError:
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
