"""A receiver of webhooks on loopback that behaves well or badly, as a test asks.

    with Receiver() as receiver:
        receiver.url            # to give to POST /v1/webhooks
        receiver.answer = 500   # from now on
        receiver.messages       # what arrived, in order: (headers, body as JSON)

It checks every signature with Python's own HMAC.
"""
import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def signature(key, message_id, timestamp, body):
    mac = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {k.lower(): v for k, v in self.headers.items()}
        try:
            owner.take(headers, body, self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):
        pass


class Receiver:
    def __init__(self, key=KEY, port=0):
        self.key, self.port = key, port
        self.answer = 204     # a status, or a function of (self, handler, message)
        self.messages, self.refused = [], []
        self.arrived = threading.Condition()
        self.gate = threading.Event()  # what hangs, hangs until it is set
        self.server = None

    def hold_port(self):
        """It has its port, where nobody answers until it starts, and nobody else gets it meanwhile."""
        self.server = Server(("127.0.0.1", self.port), Handler, bind_and_activate=False)
        self.server.server_bind()
        self.server.owner = self
        self.port = self.server.server_address[1]
        return self

    def start(self):
        if not self.server:
            self.hold_port()
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, headers, body, handler):
        good = signature(self.key, headers["webhook-id"], headers["webhook-timestamp"], body)
        if headers["webhook-signature"] != good:
            self.refused.append((headers, body))
            handler.reply(401)
            return
        message = (headers, json.loads(body))
        answer = self.answer
        status = answer(self, handler, message) if callable(answer) else answer
        if status is None:  # it has been answered, or never will be
            return
        with self.arrived:
            if 200 <= status < 300:
                self.messages.append(message)
            self.arrived.notify_all()
        handler.reply(status)

    def seqs(self):
        return [body["seq"] for _, body in list(self.messages)]

    def types(self):
        return [body["type"] for _, body in list(self.messages)]
