"""Stands between a daemon and a private libvirtd, and does to chosen calls what networks and hangs do.

    with LibvirtProxy(libvirtd) as proxy:        # a process of its own; libvirtd's `front` leads to it
        proxy.fault("DOMAIN_RESUME", "cut-after", times=1)
        ... proxy.clear() ... proxy.seen()

It reads libvirt's RPC as https://libvirt.org/kbase/internals/rpc.html describes it: a length word that
counts itself, then program, version, procedure, type, serial and status, then the payload. Only the
header is understood; what is answered with an error is answered with one that is made here.

Faults, each of one procedure (or "*"), the next `times` calls of it (None: all), optionally only on
calls whose payload has a certain piece (a domain's uuid, say):

    delay       the answer comes `seconds` later
    hang        the answer is kept; release() lets it go, and so does clear()
    cut-before  the connection ends, libvirtd does not hear of the request
    cut-after   libvirtd does what was asked, and the connection ends instead of the answer
    cut-middle  the same, in the middle of the answer
    error       libvirtd does not hear of it, the answer is an error (code, domain, message, int1)
    error-after libvirtd does what was asked, and the answer is an error all the same
    answer      libvirtd does not hear of it, the answer is this payload (hexadecimal)
"""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

REMOTE = 0x20008086
HEADER = struct.Struct(">IIIiiIi")  # with the length word
CALL, REPLY, CALL_FDS, REPLY_FDS = 0, 1, 4, 5
OK, ERROR = 0, 1
LARGEST = 1 << 25

# Those of libvirt's remote protocol that Drover comes to use; the numbers are its wire format's.
PROCEDURES = {
    "CONNECT_OPEN": 1, "CONNECT_CLOSE": 2, "CONNECT_GET_TYPE": 3, "CONNECT_GET_VERSION": 4,
    "CONNECT_GET_CAPABILITIES": 7, "DOMAIN_GET_XML_DESC": 14, "DOMAIN_GET_AUTOSTART": 15,
    "DOMAIN_LOOKUP_BY_NAME": 23, "DOMAIN_LOOKUP_BY_UUID": 24, "DOMAIN_REBOOT": 27, "DOMAIN_RESUME": 28,
    "DOMAIN_SUSPEND": 34, "CONNECT_GET_HOSTNAME": 59, "CONNECT_SUPPORTS_FEATURE": 60, "AUTH_LIST": 66,
    "CONNECT_GET_URI": 110, "DOMAIN_IS_ACTIVE": 150, "CONNECT_GET_LIB_VERSION": 157, "DOMAIN_ABORT_JOB": 164,
    "DOMAIN_MANAGED_SAVE": 182, "DOMAIN_HAS_MANAGED_SAVE_IMAGE": 183, "DOMAIN_MANAGED_SAVE_REMOVE": 184,
    "DOMAIN_CREATE_WITH_FLAGS": 196, "DOMAIN_OPEN_CONSOLE": 201, "DOMAIN_SCREENSHOT": 211, "DOMAIN_GET_STATE": 212,
    "DOMAIN_UNDEFINE_FLAGS": 231, "DOMAIN_RESTORE_FLAGS": 233, "DOMAIN_DESTROY_FLAGS": 234, "DOMAIN_RESET": 245,
    "DOMAIN_SHUTDOWN_FLAGS": 258, "DOMAIN_GET_METADATA": 265, "CONNECT_LIST_ALL_DOMAINS": 273,
    "DOMAIN_OPEN_CHANNEL": 296, "DOMAIN_GET_JOB_STATS": 298, "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY": 316,
    "CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY": 317, "CONNECT_GET_DOMAIN_CAPABILITIES": 342,
    "DOMAIN_OPEN_GRAPHICS_FD": 343, "CONNECT_GET_ALL_DOMAIN_STATS": 344, "DOMAIN_DEFINE_XML_FLAGS": 350,
    "DOMAIN_INTERFACE_ADDRESSES": 353, "DOMAIN_RENAME": 358, "CONNECT_REGISTER_CLOSE_CALLBACK": 360,
    "CONNECT_UNREGISTER_CLOSE_CALLBACK": 361,
}
NAMES = {number: name for name, number in PROCEDURES.items()}
KINDS = ("delay", "hang", "cut-before", "cut-after", "cut-middle", "error", "error-after", "answer")


def _string(text):
    """XDR: there (1), its length, its bytes, zeros up to a multiple of four."""
    data = text.encode()
    return struct.pack(">II", 1, len(data)) + data + bytes(-len(data) % 4)


def error_reply(program, version, procedure, serial, code, domain, message, int1=0):
    """virNetMessageError: code, domain, message, level, no domain, three strings, two integers, no network."""
    body = struct.pack(">ii", code, domain) + _string(message) + struct.pack(">iI", 2, 0) + _string(message)
    body += struct.pack(">IIiiI", 0, 0, int1, 0, 0)
    return HEADER.pack(HEADER.size + len(body), program, version, procedure, REPLY, serial, ERROR) + body


def made_reply(program, version, procedure, serial, payload):
    return HEADER.pack(HEADER.size + len(payload), program, version, procedure, REPLY, serial, OK) + payload


def read_exactly(sock, count):
    """None at the connection's end."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return data


def read_frame(sock):
    """(header, the frame whole, descriptors that come after it)."""
    word = read_exactly(sock, 4)
    if word is None:
        return None
    length = struct.unpack(">I", word)[0]
    if not HEADER.size <= length <= LARGEST:
        raise ValueError(f"a frame of {length} bytes")
    rest = read_exactly(sock, length - 4)
    if rest is None:
        return None
    frame, fds = word + rest, []
    header = HEADER.unpack_from(frame)
    if header[4] in (CALL_FDS, REPLY_FDS):
        for _ in range(struct.unpack_from(">I", frame, HEADER.size)[0]):
            fds += socket.recv_fds(sock, 1, 1)[1]
    return header, frame, fds


def send_frame(sock, frame, fds=()):
    sock.sendall(frame)
    for fd in fds:
        socket.send_fds(sock, [b"\0"], [fd])
        os.close(fd)


class Rule:
    def __init__(self, procedure, kind, times=None, piece="", seconds=0.0, payload="", **error):
        assert kind in KINDS, kind
        self.procedure = None if procedure == "*" else PROCEDURES[procedure]
        self.kind, self.times, self.piece, self.seconds = kind, times, bytes.fromhex(piece), seconds
        self.payload = bytes.fromhex(payload)
        self.error = {"code": 1, "domain": 10, "message": "made up by the proxy", "int1": 0, **error}
        self.let_go = threading.Event()

    def takes(self, procedure, frame):
        """Lock held."""
        if self.times == 0 or self.procedure not in (None, procedure) or self.piece not in frame:
            return False
        self.times = None if self.times is None else self.times - 1
        return True


class Server:
    """In the process of its own."""

    def __init__(self, path, target):
        self.target, self.lock, self.rules, self.counts, self.hit, self.held = target, threading.Lock(), [], {}, 0, 0
        self.pairs = set()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        os.chmod(path, 0o777)
        self.listener.listen(128)

    def rule_for(self, header, frame):
        with self.lock:
            key = f"{header[1]:x}/{header[3]}"
            self.counts[key] = self.counts.get(key, 0) + 1
            if header[1] != REMOTE or header[4] not in (CALL, CALL_FDS):
                return None
            rule = next((r for r in self.rules if r.takes(header[3], frame)), None)
            self.hit += rule is not None
            return rule

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(self.target)
        except OSError:
            client.close()
            server.close()
            return
        pair = (client, server)
        with self.lock:
            self.pairs.add(pair)
        pending, writing = {}, threading.Lock()
        back = threading.Thread(target=self.backward, args=(pair, pending, writing), daemon=True)
        back.start()
        self.forward(pair, pending, writing)
        back.join()
        with self.lock:
            self.pairs.discard(pair)
        client.close()
        server.close()

    @staticmethod
    def cut(pair):
        for sock in pair:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def forward(self, pair, pending, writing):
        client, server = pair
        try:
            while (got := read_frame(client)):
                header, frame, fds = got
                rule = self.rule_for(header, frame)
                if rule and rule.kind == "cut-before":
                    break
                if rule and rule.kind in ("error", "answer"):
                    _, program, version, procedure, _, serial, _ = header
                    with writing:
                        send_frame(client, error_reply(program, version, procedure, serial, **rule.error) if rule.kind == "error"
                                   else made_reply(program, version, procedure, serial, rule.payload))
                    continue
                if rule:
                    pending[header[5]] = rule
                send_frame(server, frame, fds)
        except (OSError, ValueError):
            pass
        self.cut(pair)

    def backward(self, pair, pending, writing):
        client, server = pair
        try:
            while (got := read_frame(server)):
                header, frame, fds = got
                rule = pending.pop(header[5], None) if header[4] in (REPLY, REPLY_FDS) and header[1] == REMOTE else None
                if rule and rule.kind == "cut-after":
                    break
                if rule and rule.kind == "error-after":
                    frame, rule = error_reply(*header[1:4], header[5], **rule.error), None
                if rule and rule.kind == "cut-middle":
                    with writing:
                        client.sendall(frame[:max(5, len(frame) // 2)])
                    break
                if rule:  # beside whatever else the connection carries
                    threading.Thread(target=self.later, args=(rule, client, frame, fds, writing), daemon=True).start()
                    continue
                with writing:
                    send_frame(client, frame, fds)
        except (OSError, ValueError):
            pass
        self.cut(pair)

    def later(self, rule, client, frame, fds, writing):
        with self.lock:
            self.held += 1
        rule.let_go.wait(rule.seconds if rule.kind == "delay" else None)
        try:
            with writing:
                send_frame(client, frame, fds)
        except OSError:
            pass
        with self.lock:
            self.held -= 1

    def do(self, command, **arguments):
        with self.lock:
            if command == "fault":
                self.rules.append(Rule(**arguments))
            elif command == "clear":
                for rule in self.rules:
                    rule.let_go.set()
                self.rules = []
                self.hit = 0
            elif command == "release":
                rule = next(r for r in self.rules if r.procedure == PROCEDURES[arguments["procedure"]])
                rule.let_go.set()
                self.rules.remove(rule)
            elif command == "cut":
                for pair in self.pairs:
                    self.cut(pair)
            elif command == "forget":
                self.counts = {}
            return {"counts": self.counts, "hit": self.hit, "held": self.held, "connections": len(self.pairs)}


def main(path, target):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests end it
    server = Server(path, target)
    threading.Thread(target=server.accept, daemon=True).start()
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(server.do(**json.loads(line))), flush=True)


class LibvirtProxy:
    """The tests' end: one command, one line of answer."""

    def __init__(self, libvirtd):
        self.libvirtd, self.path = libvirtd, libvirtd.dir / "proxy"
        self.process, self.lock = None, threading.Lock()

    def __enter__(self):
        self.path.unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, __file__, self.path, self.libvirtd.socket], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "{}\n"
        self.libvirtd.hide()
        self.libvirtd.front.symlink_to(self.path)
        return self

    def __exit__(self, *_):
        self.libvirtd.hide()
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def _do(self, command, **arguments):
        with self.lock:
            self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def fault(self, procedure, kind, times=None, domain=None, **more):
        """domain: a uuid, whose calls alone are meant; more: see Rule."""
        self._do("fault", procedure=procedure, kind=kind, times=times, piece=(domain or "").replace("-", ""), **more)

    def clear(self):
        """No fault any more; what was kept is answered now."""
        self._do("clear")

    def release(self, procedure):
        """The oldest fault of it is none any more; what it kept is answered now. The others stay."""
        self._do("release", procedure=procedure)

    def cut(self):
        """Every connection ends, as when libvirtd is restarted."""
        self._do("cut")

    def hit(self):
        """How many calls met a fault since the last clear()."""
        return self._do("look")["hit"]

    def held(self):
        return self._do("look")["held"]

    def connections(self):
        return self._do("look")["connections"]

    def seen(self, forget=False):
        """{procedure: how often it was called}; with a number for one that has no name here."""
        counts = self._do("look")["counts"]
        if forget:
            self._do("forget")
        keys = {key: key.split("/") for key in counts}
        return {NAMES.get(int(number), number): counts[key] for key, (program, number) in keys.items()
                if program == f"{REMOTE:x}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
