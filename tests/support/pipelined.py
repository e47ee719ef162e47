"""Many requests a second: raw sockets that stay open, several requests under way on each.

A request is bytes and the id it carries; what comes back is matched by its place, and by that id, which every
answer repeats. A connection that the daemon closes (it may, after a request it cannot trust) is made again, and
what it had not answered is sent once more: nothing beyond the request that was answered last was read.
"""
import re
import socket
from urllib.parse import urlsplit

DEPTH = 12          # requests under way on a connection
DEPTH_BYTES = 60000 # of them, so that neither side waits for the other to read
PATIENCE = 120
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.I)
CLOSE = re.compile(rb"\r\nconnection: *close", re.I)
NO_BODY = (204, 304)


class Closed(Exception):
    """By the other side, between two answers."""


class Answer:
    __slots__ = ("status", "head", "body")

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    def headers(self):
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [tuple(part.strip() for part in line.split(":", 1)) for line in lines]


class Line:
    """One connection."""

    def __init__(self, address):
        self.address, self.sock, self.got = address, None, b""
        self.share, self.sent = [], 0 # requests that are its to do, and how many of them were sent
        self.depth = DEPTH            # 1: the end of the connection cut off what came before

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock, self.got, self.sent = None, b"", 0

    def send_share(self):
        fresh = self.share[self.sent:self.depth]
        if not fresh:
            return
        if not self.sock:
            self.sock = socket.create_connection(self.address, timeout=PATIENCE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent += len(fresh)
        try:
            self.sock.sendall(b"".join(r[1] for r in fresh))
        except (ConnectionResetError, BrokenPipeError):
            pass # what was answered before can still be read

    def collect(self):
        """(request, answer) of what was sent; what was not answered before the connection was closed stays."""
        try:
            while self.sent and self.sock:
                answer = self.receive()
                self.sent -= 1
                self.depth = DEPTH
                yield self.share.pop(0), answer
                if CLOSE.search(answer.head):
                    self.close()
        except Closed:
            # Closed while more was sent, a connection may take answers with it that were on their way.
            assert self.depth > 1, f"closed without an answer: {self.share[0][1][:600]!r}"
            self.close()
            self.depth = 1

    def more(self):
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        self.got += data

    def until(self, mark, start=0):
        while (at := self.got.find(mark, start)) < 0:
            self.more()
        return at

    def take(self, count):
        while len(self.got) < count:
            self.more()
        data, self.got = self.got[:count], self.got[count:]
        return data

    def chunks(self):
        body = b""
        while True:
            size = int(self.take(self.until(b"\r\n") + 2).split(b";")[0], 16)
            body += self.take(size + 2)[:size]
            if not size:
                return body

    def receive(self):
        while True:
            head = self.take(self.until(b"\r\n\r\n") + 4)[:-4]
            status = int(head[9:12])
            if status != 100:
                break
        if status in NO_BODY:
            body = b""
        elif found := LENGTH.search(head):
            body = self.take(int(found[1]))
        elif CHUNKED.search(head):
            body = self.chunks()
        else:
            raise AssertionError(f"an answer without a length: {head!r}")
        return Answer(status, head, body)


class Client:
    """Several lines. exchange(requests) yields (request, answer), requests being (id, bytes, …)."""

    def __init__(self, url, lines=4):
        parts = urlsplit(url)
        self.lines = [Line((parts.hostname, parts.port)) for _ in range(lines)]

    def close(self):
        for line in self.lines:
            line.close()

    def exchange(self, requests):
        left = list(reversed(requests))
        while left or any(line.share for line in self.lines):
            for line in self.lines:
                size = sum(len(r[1]) for r in line.share)
                while left and len(line.share) < line.depth and (not line.share or size + len(left[-1][1]) < DEPTH_BYTES):
                    line.share.append(left.pop())
                    size += len(line.share[-1][1])
                line.send_share()
            for line in self.lines:
                yield from line.collect()
