"""The network's own process: what it can do, what becomes of it, and what one that lies gets.

That it serves as the daemon itself does is seen by all other tests with DROVER_TEST_FRONT."""
import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
import transport
from api_client import Client
from certificates import Authority
from daemon import BUILD, Daemon, eventually

RELEASE = Path(os.environ.get("DROVER_RELEASE_BUILD", "/nonexistent"))
ALWAYS = {"network_process": "always"}


def fronts(pid):
    """The processes of that name that this one has started."""
    found = []
    for file in (*Path(f"/proc/{pid}/task").glob("*/children"),):
        with contextlib.suppress(OSError): # a thread, or a child, that has just ended
            found += [int(child) for child in file.read_text().split()
                      if Path(f"/proc/{child}/comm").read_text().strip() == "drover-front"]
    return found


@pytest.fixture(scope="module")
def daemon():
    with Daemon(settings=ALWAYS) as d:
        yield d


def status(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


# ---- what it can do ----

def test_it_has_neither_libvirt_nor_the_database_nor_files(daemon):
    (pid,) = fronts(daemon.process.pid)
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "libmicrohttpd" in maps
    for library in ("libvirt", "libsqlite", "libxml2", "libcurl", "libarchive"):
        assert library not in maps
    held = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert not [to for fd, to in held.items() if to.startswith("/") and fd not in ("0", "1", "2") and to != "/dev/urandom"]
    assert str(daemon.state_dir / "drover.db") not in held.values()
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"LC_ALL=C\0PATH=/usr/bin:/bin\0"


def test_it_has_shut_itself_in(daemon):
    (pid,) = fronts(daemon.process.pid)
    told = status(pid)
    assert told["NoNewPrivs"].strip() == "1"
    # Under a sanitizer, whose own system calls are not known, there is no filter.
    wanted = "0" if "libasan" in Path(f"/proc/{pid}/maps").read_text() else "2"
    assert told["Seccomp"].strip() == wanted


def test_shut_in_nothing_else_can_be_done():
    program = RELEASE / "tests/unit/base/test_sandbox"
    if not program.exists():
        pytest.skip("no release build")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "not ok" not in done.stdout, done.stdout


@pytest.mark.parametrize("address,settings,wanted", [
    ("127.0.0.1:0", {}, 0), ("0.0.0.0:0", {"insecure_listen": "true"}, 1),
    ("0.0.0.0:0", {"insecure_listen": "true", "network_process": "never"}, 0), ("127.0.0.1:0", ALWAYS, 1)])
def test_who_listens_beyond_loopback_has_one(address, settings, wanted):
    with Daemon(settings={"network_process": "auto", "listen": address, **settings}) as d:
        assert len(fronts(d.process.pid)) == wanted


# ---- what becomes of it ----

LIVED_SECONDS = 5 # api/front.c


def lived(pid):
    started = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float(Path("/proc/uptime").read_text().split()[0]) - started


def state_of(daemon, vm):
    with contextlib.suppress(OSError, http.client.HTTPException): # cut off with the one that dies
        return daemon.client().get(f"/v1/vms/{vm['id']}").json["state"]


def test_one_that_dies_is_started_again_and_nothing_is_lost(daemon):
    client = daemon.client()
    vm = client.post("/v1/vms", {"name": "front-1", "memory_mib": 64, "start": True}).json
    (pid,) = fronts(daemon.process.pid)
    # One that has lived is started again at once: whoever knocks meanwhile must not be let in before it is ready.
    eventually(lambda: lived(pid) > LIVED_SECONDS, what="its age")
    os.kill(pid, signal.SIGKILL)
    # This host's own administrator is served meanwhile.
    assert Client(str(daemon.state_dir / "drover.sock")).get(f"/v1/vms/{vm['id']}").status == 200
    eventually(lambda: fronts(daemon.process.pid) not in ([], [pid]), what="another")
    eventually(lambda: state_of(daemon, vm) == "running", what="the VM as it was")
    assert daemon.log().count("the network's process has ended; it is started again") == 1
    daemon.client().delete(f"/v1/vms/{vm['id']}")


def can_bind(host, port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            s.bind((host, port))
            return True
    return False


def test_it_goes_with_the_daemon():
    with Daemon(settings=ALWAYS) as d:
        (pid,) = fronts(d.process.pid)
        host, port = d.address.rsplit(":", 1)
        d.kill9()
        eventually(lambda: can_bind(host, int(port)), what="a free port")
        eventually(lambda: not Path(f"/proc/{pid}").exists() or status(pid)["State"].startswith("Z"), what="its end")


def test_what_it_cannot_begin_with_is_said(tmp_path):
    for settings, words in (({"network_process": "sometimes"}, "none of auto, always and never"),
                            ({"tls_certificate": tmp_path / "none", "tls_key": tmp_path / "none"}, "certificate")):
        d = Daemon(settings={**ALWAYS, **settings})
        d.spawn()
        status, said = d.process.wait(60), d.log()
        d.process = None  # it is over
        d.close()
        assert status != 0 and words in said


def test_a_wish_that_is_none_is_seen_by_the_check_of_the_settings():
    done = subprocess.run([BUILD / "droverd", "--check-config", "--network-process=sometimes"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.startswith("droverd: network_process: "), done


def test_a_certificate_is_read_again(tmp_path):
    """Also when its path is relative, to where the daemon was started."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    with Daemon(settings={**ALWAYS, "tls_certificate": certificate.name, "tls_key": key.name}, context=authority.context(),
                wrapper=("env", "-C", certificate.parent)) as d:
        before = shown(d, authority)
        authority.issue("localhost")  # into the same files
        d.process.send_signal(signal.SIGHUP)
        eventually(lambda: shown(d, authority) != before, what="the new certificate")


def shown(d, authority):
    host, port = d.address.rsplit(":", 1)
    with authority.context().wrap_socket(socket.create_connection((host, int(port)), 30), server_hostname="localhost") as s:
        return s.getpeercert(binary_form=True)


# ---- one that lies ----

FAKE = '''#!/usr/bin/python3
import json, socket, struct, sys
core = socket.socket(fileno=3)
core.setblocking(True)
said = json.load(open("FRAMES"))

def frame(kind, flags, number, data):
    return struct.pack("<IBBHQ", len(data), kind, flags, 0, number) + data

def take(n):
    data = b""
    while len(data) < n:
        more = core.recv(n - len(data))
        if not more:
            sys.exit()
        data += more
    return data

core.sendall(frame(READY, 0, 0, struct.pack("<I", VERSION)))
for hexed in said:
    core.sendall(bytes.fromhex(hexed))
while True:
    length, kind, flags, zero, number = struct.unpack("<IBBHQ", take(16))
    data = take(length)
    if kind == STOP:
        sys.exit()
    with open("HEARD", "a") as f:
        f.write(json.dumps([kind, flags, number, data.hex()]) + "\\n")
'''
# api/front_wire.h
TYPES = ("SETTINGS", "QUIESCE", "STOP", "GO", "ANSWER", "END", "READY", "FAILED", "CALL", "GONE", "DATA", "ROOM")
SETTINGS, QUIESCE, STOP, GO, ANSWER, END, READY, FAILED, CALL, GONE, DATA, ROOM = range(1, 13)
VERSION = 2


SIGNED = (("Host", "localhost"), ("Authorization", f"Bearer {transport.TOKEN}"))


def frame(kind, data=b"", number=1, flags=0, length=None):
    return (len(data) if length is None else length).to_bytes(4, "little") + bytes([kind, flags, 0, 0]) + \
        number.to_bytes(8, "little") + data


def text(value, end=b"\0"):
    data = value.encode() + end
    return len(data).to_bytes(4, "little") + data


def call(method="GET", url="/v1/vms/a", headers=(("Host", "localhost"),), peer="192.0.2.1", certificate="", number=1, flags=0):
    data = b"".join(map(text, (method, url, "HTTP/1.1", "", peer, certificate, "")))
    data += len(headers).to_bytes(4, "little")
    return frame(CALL, data + b"".join(text(t) for pair in headers for t in pair), number, flags)


@pytest.fixture
def lying(tmp_path, monkeypatch):
    """A transport server whose front says these frames; what it heard, and the server."""
    servers = []

    def start(*frames, version=VERSION):
        (tmp_path / "frames").write_text(json.dumps([f.hex() for f in frames]))
        program = tmp_path / "front"
        program.write_text(FAKE.replace("FRAMES", str(tmp_path / "frames")).replace("HEARD", str(tmp_path / "heard"))
                           .replace("READY", str(READY)).replace("STOP", str(STOP)).replace("VERSION", str(version)))
        program.chmod(stat.S_IRWXU)
        monkeypatch.setenv("DROVER_FRONT", str(program))
        server = transport.Server(tmp_path, "network_process=always")
        servers.append(server)
        return server, tmp_path / "heard"

    monkeypatch.setattr(transport, "FRONT", False)  # which would name the real one
    yield start
    for server in servers:
        server.stop()
        server.log.close()


def heard(file, kind):
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [(flags, number, bytes.fromhex(data)) for k, flags, number, data in lines if k == kind]


def answered(file, number=1):
    return eventually(lambda: [int.from_bytes(data[:4], "little") for _, n, data in heard(file, ANSWER) if n == number])[0]


def test_one_that_does_as_it_should_is_served(lying):
    _, file = lying(call(headers=SIGNED))
    assert answered(file) == 200


def test_one_of_another_version_is_not_served(lying):
    """Of a package that was upgraded beside the daemon, say."""
    with pytest.raises(AssertionError, match="of another version"):
        lying(call(headers=SIGNED), version=VERSION - 1)


@pytest.mark.parametrize("headers,status", [
    ((("Host", "localhost"),), 401), ((("Host", "localhost"), ("Authorization", "Bearer guessed")), 401),
    ((("Host", "evil.example"),), 421), ((("Host", "localhost"), ("Host", "localhost")), 400),
    ((("Host", "localhost"), ("Content-Length", "1"), ("Transfer-Encoding", "chunked")), 400),
    ((("Host", "localhost"),) * 100 + (("A", "b"),), None)])
def test_what_it_parsed_is_looked_at_again(lying, headers, status):
    """It cannot sign anybody in, and what the gate refuses there it refuses here."""
    server, file = lying(call(headers=headers))
    if status:
        assert answered(file) == status
    else:
        eventually(lambda: "is started again" in server.log_text())


NONSENSE = {
    "a user of this host": call(peer="unix:0"), "a line of the log": call(peer="192.0.2.1\n<6>"), "a length beyond all": frame(CALL, length=1 << 31),
    "no such type": frame(99), "what only the core says": frame(ANSWER, b"\0" * 64),
    "a text without an end": frame(CALL, (4).to_bytes(4, "little") + b"GETX"), "nothing in a call": frame(CALL),
    "more after the call": frame(CALL, call()[16:] + b"x"), "the same number twice": call("POST", "/v1/park", SIGNED) + call(),
    "a body that was not announced": call("POST", "/v1/park", SIGNED) + frame(DATA, b"x"),
    "room beyond what was taken": call(url="/v1/events", headers=SIGNED)
    + frame(ROOM, (1 << 30).to_bytes(4, "little")),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_ends_it_and_nothing_else(lying, what):
    server, _ = lying(NONSENSE[what])
    eventually(lambda: "is started again" in server.log_text())
    with server.connect(unix=True) as c:
        assert c.request("GET", "/v1/state").status == 200


@pytest.mark.parametrize("what", [frame(DATA, b"x", 7), frame(GONE, number=7), frame(ROOM, (1).to_bytes(4, "little"), 7)])
def test_what_is_about_a_request_that_is_over_is_nothing(lying, what):
    _, file = lying(what, call(headers=SIGNED, number=8))
    assert answered(file, 8) == 200
