"""A small HTTP client for tests: every exchange can be checked and recorded.

Uses http.client, so that nothing between the test and the socket tidies requests up. With
DROVER_RECORD=FILE every exchange is appended to FILE as a line of JSON (see
tests/contract/validate.py).
"""
import http.client
import json
import os
import socket
import ssl
from urllib.parse import urlencode, urlsplit

TIMEOUT = 60


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name, default=None):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The problem's code, or None."""
        if (self.header("Content-Type") or "").split(";")[0] != "application/problem+json":
            return None
        return self.json["code"]

    def __repr__(self):
        return f"<{self.status} {self.text[:400]}>"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.unix_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix_path)


class Client:
    """client.get("/v1/vms", state="running"); client.post("/v1/vms", {"name": "a"})

    url is http://ADDRESS or the path of a Unix socket. check(exchange) returns a list of errors;
    any makes the request fail the test.
    """

    def __init__(self, url, token=None, check=None, headers=None, context=None):
        """context: what to trust, and to show, at an https address."""
        self.url, self.token, self.check, self.context = url, token, check, context
        self.headers = dict(headers or {})
        self.record = os.environ.get("DROVER_RECORD")

    def connection(self, timeout=TIMEOUT):
        if self.url.startswith("/"):
            return UnixConnection(self.url, timeout)
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=self.context or ssl.create_default_context())
        return http.client.HTTPConnection(parts.netloc, timeout=timeout)

    def all_headers(self, extra=None):
        headers = dict(self.headers)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        headers.update(extra or {})
        return {k: v for k, v in headers.items() if v is not None}

    def request(self, method, path, value=None, *, body=None, headers=None, patience=TIMEOUT, **query):
        """value is sent as JSON, body as it is; query arguments that are None are left out.

        patience is how many seconds the client waits."""
        sent = self.all_headers(headers)
        if value is not None:
            body = json.dumps(value).encode()
            sent.setdefault("Content-Type", "application/json")
        query = [(k, v) for k, vs in query.items() if vs is not None for v in (vs if isinstance(vs, list) else [vs])]
        query = [(k, str(v).lower() if isinstance(v, bool) else v) for k, v in query]
        target = path + ("?" + urlencode(query) if query else "")
        connection = self.connection(patience)
        try:
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            response = Response(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()
        self.observe(method, target, response)
        return response

    def observe(self, method, target, response):
        exchange = {"method": method, "path": target, "status": response.status, "headers": response.headers,
                    "body": response.text if response.body else None}
        if self.record:
            with open(self.record, "ab", buffering=0) as file:
                file.write(json.dumps(exchange).encode() + b"\n")  # at once: others append to it, too
        errors = self.check(exchange) if self.check else []
        assert not errors, "\n".join(errors)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, value=None, **kw):
        return self.request("POST", path, value, **kw)

    def put(self, path, body=b"", **kw):
        """A dict is sent as JSON, anything else as it is."""
        if isinstance(body, dict):
            return self.request("PUT", path, body, **kw)
        return self.request("PUT", path, body=body, **kw)

    def patch(self, path, value=None, **kw):
        kw["headers"] = {"Content-Type": "application/merge-patch+json", **(kw.get("headers") or {})}
        return self.request("PATCH", path, value, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    # ---- streams ----

    def sse(self, path="/v1/events", headers=None, patience=TIMEOUT, **query):
        """Server-sent events as (id, value) pairs; close() the generator to leave."""
        target = path + ("?" + urlencode(query) if query else "")
        connection = self.connection(patience)
        connection.request("GET", target, headers=self.all_headers({"Accept": "text/event-stream", **(headers or {})}))
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        assert answer.getheader("Content-Type").startswith("text/event-stream")
        self.observe("GET", target, Response(200, answer.getheaders(), b""))
        return sse_blocks(connection, answer)

    def raw(self, data, timeout=TIMEOUT):
        """Sends bytes as they are; everything that comes back until the server closes or is silent."""
        parts = urlsplit(self.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as sock:
            sock.sendall(data)
            received = b""
            try:
                while chunk := sock.recv(65536):
                    received += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return received


def sse_blocks(connection, answer):
    try:
        event_id, data = None, []
        while line := answer.readline():
            line = line.decode().rstrip("\r\n")
            if not line and data:
                yield event_id, json.loads("\n".join(data))
                event_id, data = None, []
            elif line.startswith("id:"):
                event_id = line[3:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
    finally:
        connection.close()
