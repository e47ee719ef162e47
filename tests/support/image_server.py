"""An HTTP server on loopback that serves images well or badly, as each path asks.

    with ImageServer() as server:
        server.files["/good.raw"] = b"…"
        server.url("/good.raw")

A path may have a way of misbehaving in front: /cut/64/good.raw sends 64 bytes and closes.
"""
import hashlib
import re
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server.owner
        path = self.path
        with server.lock:
            server.requests.append((path, dict(self.headers)))
        way = re.match(r"/(cut|hang|status|redirect|endless|long|drip|plain|changing|norange|lie)/([^/]+)(/.*)?$", path)
        kind, value, rest = way.groups() if way else ("good", "", path)
        if kind == "status":
            return self.answer(int(value), b"no")
        if kind == "redirect":
            target = server.redirects[value]
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        data = server.files.get(rest)
        if data is None:
            return self.answer(404, b"nothing here")
        getattr(self, f"way_{kind}")(data, value)
        return None

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def head(self, data, etag=None, ranges=True, length=True):
        """Sends the head; the bytes that are to follow."""
        etag = etag or '"%s"' % hashlib.sha256(data).hexdigest()[:16]
        start, end = 0, len(data)
        asked = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range") or "")
        fits = self.headers.get("If-Range") in (None, etag)
        if ranges and asked and fits and int(asked[1]) < len(data):
            start = int(asked[1])
            end = min(len(data), int(asked[2]) + 1) if asked[2] else len(data)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        if ranges:
            self.send_header("ETag", etag)
            self.send_header("Accept-Ranges", "bytes")
        if length:
            self.send_header("Content-Length", str(end - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        return data[start:end]

    def way_good(self, data, _):
        self.wfile.write(self.head(data))

    def way_norange(self, data, _):
        self.wfile.write(self.head(data, ranges=False))

    def way_plain(self, data, _):
        """No length: the end of the connection is the end of the file."""
        self.wfile.write(self.head(data, ranges=False, length=False))

    def way_cut(self, data, value):
        """So many bytes more for each request, then the connection ends."""
        body = self.head(data)
        self.wfile.write(body[:int(value)])
        self.close_connection = True

    def way_hang(self, data, value):
        """As far as this offset in the file, then nothing until the test lets go."""
        body = self.head(data)
        if len(body) <= 65536 and self.headers.get("If-Range") is None:
            return self.wfile.write(body) # somebody only looks
        first = max(0, int(value) - (len(data) - len(body)))
        self.wfile.write(body[:first])
        self.wfile.flush()
        if first < len(body):
            self.server.owner.release.wait(60)
        return self.wfile.write(body[first:])

    def way_drip(self, data, value):
        """A piece of that size every 50 ms."""
        body = self.head(data)
        for i in range(0, len(body), int(value)):
            self.wfile.write(body[i:i + int(value)])
            self.wfile.flush()
            if self.server.owner.release.wait(0.05):
                pass

    def way_endless(self, data, _):
        self.head(data, ranges=False, length=False)
        while not self.server.owner.closing:
            self.wfile.write(data or b"\0" * 65536)

    def way_long(self, data, value):
        """More bytes than the head says."""
        self.wfile.write(self.head(data) + b"x" * int(value))
        self.close_connection = True

    def way_changing(self, data, value):
        """Another file at each request, under another ETag."""
        server = self.server.owner
        with server.lock:
            server.turn += 1
            turn = server.turn
        if turn > int(value):
            self.wfile.write(self.head(data, etag='"last"'))
        else:
            other = bytes(b ^ (turn & 0xff) if i > 70000 else b for i, b in enumerate(data))
            self.wfile.write(self.head(other, etag=f'"{turn}"')[:100000])
            self.close_connection = True

    def way_lie(self, data, _):
        """A range that is not the one that was asked for."""
        if not self.headers.get("If-Range"):
            self.wfile.write(self.head(data)[:70000])
            self.close_connection = True
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-9/{len(data)}")
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(data[:10])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that went away is what many of these tests are about


class ImageServer:
    def __init__(self, address="127.0.0.1"):
        self.files, self.redirects, self.requests = {}, {}, []
        self.lock, self.release, self.closing, self.turn = threading.Lock(), threading.Event(), False, 0
        self.server = Server((address, 0), Handler)
        self.server.owner = self
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing = True
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def add(self, path, data):
        """The URL and hash of a new file, as a source."""
        self.files[path] = data
        return {"url": self.url(path), "sha256": hashlib.sha256(data).hexdigest()}

    def count(self, path):
        with self.lock:
            return sum(1 for p, _ in self.requests if p == path)

    def seen(self, path, times=1, seconds=20):
        end = time.monotonic() + seconds
        while self.count(path) < times:
            assert time.monotonic() < end, f"{path} was not asked for {times} times"
            time.sleep(0.01)
