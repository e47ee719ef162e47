"""TLS of its own: what is agreed on, certificates that change, clients that show one, and who is slow or rude."""
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest
import transport
from certificates import Authority
from conftest import CONTRACT
from daemon import BUILD, Daemon, eventually
from websocket import Refused


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"), "clients")


def settings(certificate, **more):
    return {"tls_certificate": certificate[0], "tls_key": certificate[1], **more}


@pytest.fixture(scope="module")
def daemon(authority, clients):
    with Daemon(check=CONTRACT.check, context=authority.context(), settings=settings(
            authority.issue("localhost"), tls_client_ca=clients.certificate, auth_failures_per_minute=1000)) as d:
        yield d


@pytest.fixture
def echo(tmp_path, authority):
    """The transport's own server, whose files and limits a test can change."""
    made = []

    def start(*args):
        certificate, key = authority.issue("localhost", file=f"echo-{len(made)}")
        server = transport.Server(tmp_path, f"tls_certificate={certificate}", f"tls_key={key}", *args)
        server.authority, server.files = authority, (certificate, key)
        made.append(server)
        return server

    yield start
    for server in made:
        server.stop()
        server.log.close()


def connect(address, context, name="localhost"):
    host, port = address.rsplit(":", 1)
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=30), server_hostname=name)


# ---- what is agreed on ----

@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version,works", [(ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False),
                                           (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)])
def test_old_versions_are_refused(daemon, authority, version, works):
    context = authority.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if works:
        with connect(daemon.address, context) as s:
            assert s.version() == version.name.replace("_", ".")
            assert version != ssl.TLSVersion.TLSv1_2 or s.cipher()[0].startswith("ECDHE-")
    else:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            connect(daemon.address, context)


@pytest.mark.parametrize("cipher", ["AES256-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "NULL-SHA256"])
def test_weak_ciphers_are_refused(daemon, authority, cipher):
    context = authority.context()
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(daemon.address, context)


@pytest.mark.parametrize("offered,chosen", [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), ([], None),
                                            (["h2"], "refused"), (["http/1.0", "ftp"], "refused")])
def test_the_protocol_is_http_1_1(daemon, authority, offered, chosen):
    context = authority.context()
    if offered:
        context.set_alpn_protocols(offered)
    if chosen == "refused":
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            connect(daemon.address, context)
    else:
        with connect(daemon.address, context) as s:
            assert s.selected_alpn_protocol() == chosen


def test_who_speaks_http_is_told(daemon):
    with socket.create_connection(daemon.address.rsplit(":", 1), timeout=30) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert s.recv(4096).endswith(b"This port speaks HTTPS.\n")
        assert s.recv(4096) == b""


def test_links_cookies_and_pages_are_those_of_https(daemon):
    api = daemon.client()
    made = api.post("/v1/session/codes").json
    assert made["url"].startswith(f"https://{daemon.address}/#code=")
    assert daemon.socket_client().post("/v1/session/codes").json["url"].startswith(f"https://{daemon.address}/#")
    nobody = daemon.client(token=None)
    signed_in = nobody.post("/v1/session", {"code": made["code"]}, headers={"Origin": daemon.url})
    assert signed_in.status == 201 and "; Secure" in signed_in.header("Set-Cookie")
    cookie = {"Cookie": signed_in.header("Set-Cookie").split(";")[0]}
    for origin, status in ((daemon.url, 422), (daemon.url.replace("https", "http"), 403), ("https://evil.example", 403)):
        assert nobody.post("/v1/vms", {}, headers={**cookie, "Origin": origin}).status == status, origin
    assert api.post("/v1/vms", {"name": "linked"}).status == 201
    ticket = api.post("/v1/tickets", {"vm": "linked", "stream": "console"}).json
    assert ticket["url"].startswith(f"wss://{daemon.address}/v1/vms/")


def test_the_command_line_speaks_it(daemon, authority, clients):
    api = daemon.client()
    environment = {"PATH": os.environ["PATH"], "DROVER_URL": f"https://{daemon.address}",
                   "DROVER_TOKEN": daemon.admin_token()}

    def drover(*words, **more):
        return subprocess.run([BUILD / "drover", *words], env={**environment, **more}, capture_output=True, text=True,
                              timeout=60, check=False, stdin=subprocess.DEVNULL)

    trusting = {"DROVER_CACERT": str(authority.certificate)}
    assert drover("vm", "list", **trusting).returncode == 0
    doubtful = drover("vm", "list")
    assert doubtful.returncode == 3 and "certificate" in doubtful.stderr, doubtful
    # A certificate instead of a token, for requests and for sockets; the console of a VM that is off says so.
    made = api.post("/v1/tokens", {"name": "command", "role": "operator"}).json
    certificate, key = clients.issue(made["id"], usage="clientAuth", file="command")
    shown = {**trusting, "DROVER_TOKEN": "", "DROVER_CERT": str(certificate), "DROVER_KEY": str(key)}
    assert drover("vm", "create", "by-hand", **shown).returncode == 0
    refused = drover("console", "by-hand", **shown)
    assert refused.returncode != 0 and "by-hand" in refused.stderr and "certificate" not in refused.stderr, refused


# ---- who shows a certificate ----

def as_client(daemon, authority, certificate, headers=None):
    client = daemon.client(token=None, headers=headers)
    client.context = authority.context(client=certificate)
    return client


def test_a_certificate_stands_for_a_token(daemon, authority, clients):
    api = daemon.client()
    made = api.post("/v1/tokens", {"name": "by-certificate", "role": "viewer"}).json
    certificate = clients.issue(made["id"], usage="clientAuth")
    client = as_client(daemon, authority, certificate)
    me = client.get("/v1/session").json
    assert me["id"] == f"token:{made['id']}" and me["role"] == "viewer" and me["name"] == "by-certificate"
    assert client.get("/v1/vms").status == 200 and client.post("/v1/vms", {"name": "x"}).status == 403
    # A token that is sent counts alone, also a wrong one.
    both = as_client(daemon, authority, certificate, {"Authorization": f"Bearer {daemon.admin_token()}"})
    assert both.get("/v1/session").json["role"] == "admin"
    assert as_client(daemon, authority, certificate, {"Authorization": "Bearer x"}).get("/v1/vms").status == 401
    # Its rights end with the token, and so does what was opened with it.
    events = client.sse("/v1/events", since=0)
    next(events)
    assert api.delete(f"/v1/tokens/{made['id']}").status == 204
    for _ in events:
        pass
    assert client.get("/v1/vms").code == "unauthenticated"


def test_certificates_of_nobody(daemon, authority, clients):
    for name in ("nobody", "AAAAAAAAAAAA", "*", "a" * 64):
        answer = as_client(daemon, authority, clients.issue(name, usage="clientAuth", file="nobody")).get("/v1/vms")
        assert answer.status == 401 and answer.json["remedy"], name
    foreign = authority.issue("foreign", usage="clientAuth")
    server = clients.issue("server", usage="serverAuth")
    for certificate in (foreign, server):
        with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
            as_client(daemon, authority, certificate).get("/v1/vms")
    assert daemon.client().get("/v1/vms").status == 200 and daemon.client(token=None).get("/v1/vms").status == 401


def test_a_foreign_page_cannot_use_a_browsers_certificate(daemon, authority, clients):
    made = daemon.client().post("/v1/tokens", {"name": "browser", "role": "admin"}).json
    certificate = clients.issue(made["id"], usage="clientAuth", file="browser")
    for headers, status in (({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
                            ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
                            ({"Origin": "null"}, 403), ({"Origin": daemon.url, "Sec-Fetch-Site": "same-origin"}, 422),
                            ({}, 422)):
        assert as_client(daemon, authority, certificate).post("/v1/vms", {}, headers=headers).status == status, headers
    context = authority.context(client=certificate)
    with pytest.raises(Refused) as refused:
        daemon.websocket("/v1/events", token=None, headers={"Origin": "https://evil.example"}, context=context)
    assert refused.value.status == 403
    daemon.websocket("/v1/events", token=None, headers={"Origin": daemon.url}, context=context).close()


# ---- sessions ----

def resumes(daemon, context):
    """Whether a second handshake is spared, after a request on the first connection."""
    session = None
    for _ in range(2):
        host, port = daemon.address.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=30)
        with context.wrap_socket(sock, server_hostname="localhost", session=session) as s:
            s.sendall(f"GET / HTTP/1.1\r\nHost: {daemon.address}\r\n\r\n".encode())
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
            session, reused = s.session, s.session_reused
    return reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_but_not_where_certificates_are_shown(daemon, authority, version):
    contexts = [authority.context(), authority.context()]
    for context in contexts:
        context.minimum_version = context.maximum_version = version
    assert not resumes(daemon, contexts[0])
    certificate, key = authority.issue("localhost", file="resumed")
    with Daemon(context=authority.context(), settings={"tls_certificate": certificate, "tls_key": key}) as plain:
        assert resumes(plain, contexts[1])


def test_a_session_is_offered_first_of_all_also_to_a_websocket(echo, authority):
    """Its record is sealed before any other, on another thread than those that send it."""
    server = echo()
    context = authority.context()
    server.authority.context = lambda: context
    with server.connect() as c:
        assert c.upgrade().status == 101
        c.ws_send(b"x" * 60000)
        assert c.ws_bytes(60000) == b"x" * 60000
        session = c.sock.session
    with context.wrap_socket(socket.create_connection(server.address, timeout=30), server_hostname="localhost",
                             session=session) as s:
        assert s.session_reused


def test_an_answer_that_is_longer_than_the_socket_takes_is_read_late_and_whole(daemon, authority):
    """Nothing is sealed for which there is no room; when there is, it goes on."""
    page = daemon.client(token=None).get("/").text
    large = max(set(re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page)),
                key=lambda path: len(daemon.client(token=None).get(path).body))
    whole, times = daemon.client(token=None).get(large).body, 60
    with connect(daemon.address, authority.context()) as s:
        s.sendall(f"GET {large} HTTP/1.1\r\nHost: {daemon.address}\r\n\r\n".encode() * times)
        got = b""
        for _ in range(times):
            while b"\r\n\r\n" not in got:
                got += s.recv(65536)
            head, got = got.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200")
            while len(got) < len(whole):
                got += s.recv(65536)
            assert got[:len(whole)] == whole
            got = got[len(whole):]


def test_what_is_sent_before_leaving_at_once_is_heard(echo):
    """Nothing of ours is on its way to whoever only sends: else his leaving would be a reset, which loses it."""
    server = echo()
    with server.connect(unix=True) as admin:
        for n in range(20):
            with server.connect() as c:
                c.send(c.head("PUT", "/v1/upload", {"Content-Length": 10 << 20}) + b"x" * 300000)
            eventually(lambda: admin.request("GET", "/v1/state").json["uploads_aborted"] == n + 1, 20, f"upload {n}")


# ---- certificates that change ----

def serial(server, authority):
    with connect("%s:%d" % server.address, authority.context()) as s:
        return s.getpeercert()["serialNumber"]


def test_a_new_certificate_is_taken_and_no_console_ends(echo, authority):
    server = echo()
    with server.connect() as console:
        assert console.upgrade().status == 101
        console.ws_send(b"before")
        assert console.ws_frame()[1] == b"before"
        first = serial(server, authority)
        fresh = authority.issue("localhost", file="renewed")
        for old, new in zip(server.files, fresh):
            os.replace(new, old)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: serial(server, authority) != first, 30, "the new certificate")
        second = serial(server, authority)
        # One that cannot be used changes nothing, and is told.
        server.files[0].write_text("no certificate")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "tls_certificate" in server.log_text() or "cannot use" in server.log_text(), 30, "a word")
        assert serial(server, authority) == second
        console.ws_send(b"after")
        assert console.ws_frame()[1] == b"after"


# ---- bytes ----

def test_bytes_of_any_number_in_records_of_any_size(echo):
    server = echo("body_limit_bytes=4000000", "json_tokens=1000000")
    with server.connect() as c:
        for size in (0, 1, 16383, 16384, 16385, 1000000):
            body = b'{"a":"' + b"x" * size + b'"}'
            answer = c.request("POST", "/v1/echo", body, headers={"Content-Type": "application/json"})
            assert answer.status == 201 and answer.json["json"] == {"a": "x" * size}
        for byte in c.head("GET", "/v1/vms/x", {}):
            c.send(bytes([byte]))
        assert c.answer().status == 200
        c.send(c.head("GET", "/v1/vms/x", {}) * 20)
        assert [c.answer().status for _ in range(20)] == [200] * 20


def test_a_console_carries_a_flood_both_ways(echo):
    server = echo()
    with server.connect() as c:
        assert c.upgrade().status == 101
        sent, got = [os.urandom(60000) for _ in range(100)], b""
        for piece in sent:
            c.ws_send(piece)
            while len(got) < 60000 * (sent.index(piece) + 1):
                got += c.ws_frame()[1]
        assert got == b"".join(sent)


# ---- who is slow, rude, or many ----

def test_a_handshake_has_its_deadline_and_takes_a_place(echo):
    server = echo("header_timeout_ms=3000", "max_connections=16", "max_connections_per_address=64")
    held = [socket.create_connection(server.address, timeout=30) for _ in range(16)]
    with server.connect(unix=True) as admin:
        eventually(lambda: admin.request("GET", "/v1/state").json["connections"] >= 16, 20, "sixteen of them")
        for s in held:
            assert s.recv(100) == b""  # cut at its deadline, without a word
            s.close()
        eventually(lambda: admin.request("GET", "/v1/state").json["connections"] <= 1, 20, "their end")
    with server.connect() as c:
        assert c.request("GET", "/v1/vms/x").status == 200


def test_a_handshake_may_come_in_pieces(echo, authority):
    """Nothing is begun before its first record is whole; each piece is a segment of its own."""
    server = echo()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(server.address, timeout=30) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            for byte in outgoing.read():
                s.send(bytes([byte]))
            if not done:
                incoming.write(s.recv(65536))
        tls.write(b"GET /v1/vms/x HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %s\r\n\r\n" % (
            server.address[1], transport.TOKEN.encode()))
        s.sendall(outgoing.read())
        answer = b""
        while not answer:
            incoming.write(s.recv(65536))
            try:
                answer = tls.read(4096)
            except ssl.SSLWantReadError: # the ticket came alone
                pass
        assert answer.startswith(b"HTTP/1.1 200")


def test_clients_that_break_off_leave_nothing(echo, authority):
    server = echo()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with server.connect(unix=True) as admin:
        before = admin.request("GET", "/v1/state").json["fds"]
        for n in range(60):
            s = socket.create_connection(server.address, timeout=30)
            if n % 3 == 0:
                s.sendall(hello + os.urandom(n))
            elif n % 3 == 1:
                s = authority.context().wrap_socket(s, server_hostname="localhost")
                s.sendall(b"GET /v1/vms/x HTTP/1.1\r\nHost: localhost\r\n")
            if n % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.close()
        for junk in (b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x80\x2e\x01\x03\x01", os.urandom(3000)):
            with socket.create_connection(server.address, timeout=30) as s:
                try:
                    s.sendall(junk)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
        eventually(lambda: admin.request("GET", "/v1/state").json["fds"] <= before, 30, "every descriptor back")
        with server.connect() as c:
            assert c.request("GET", "/v1/vms/x").status == 200


def test_half_closing_is_no_hanging_up(echo):
    server = echo()
    with server.connect() as c:
        c.send(c.head("GET", "/v1/vms/x", {"Connection": "close"}))
        assert c.answer().status == 200
        assert c.is_closed()


def test_stopping_says_goodbye(echo):
    server = echo()
    c = server.connect()
    assert c.upgrade().status == 101
    assert server.stop() < 15
    assert c.ws_frame()[0] == 8  # a close frame, not a broken record


# ---- what is set ----

@pytest.mark.parametrize("given,named", [
    ({"tls_certificate": "{crt}"}, "tls_key"), ({"tls_key": "{key}"}, "tls_certificate"),
    ({"tls_client_ca": "{crt}"}, "tls_certificate"),
    ({"tls_certificate": "/no/such", "tls_key": "{key}"}, "tls_certificate"),
    ({"tls_certificate": "{crt}", "tls_key": "/no/such"}, "tls_key"),
    ({"tls_certificate": "{key}", "tls_key": "{key}"}, "tls_certificate"),
    ({"tls_certificate": "{crt}", "tls_key": "{other}"}, "tls_key"),
    ({"tls_certificate": "{crt}", "tls_key": "{key}", "tls_client_ca": "{key}"}, "tls_client_ca"),
])
def test_what_cannot_be_used_is_named_and_nothing_starts(authority, tmp_path, given, named):
    certificate, key = authority.issue("localhost", file="set")
    _, other = authority.issue("localhost", file="other")
    arguments = [f"--{k.replace('_', '-')}={v.format(crt=certificate, key=key, other=other)}" for k, v in given.items()]
    done = subprocess.run([BUILD / "droverd", "--state-dir", tmp_path / "s", "--listen", "127.0.0.1:0", "--libvirt",
                           "test:///default", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and named in done.stderr, done
    assert not (tmp_path / "s/listen.addr").exists()
    checked = subprocess.run([BUILD / "droverd", "--check-config", *arguments], capture_output=True, text=True,
                             timeout=60, check=False)
    assert checked.returncode == 2 and named in checked.stderr, checked


def test_files_that_can_be_used_pass_the_check(authority):
    certificate, key = authority.issue("localhost", file="good")
    done = subprocess.run([BUILD / "droverd", "--check-config", f"--tls-certificate={certificate}", f"--tls-key={key}"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stderr == "", done


def test_with_it_the_network_may_be_listened_to(authority, tmp_path):
    certificate, key = authority.issue("localhost", file="open")
    server = transport.Server(tmp_path, f"tls_certificate={certificate}", f"tls_key={key}", "listen=0.0.0.0:0")
    server.address, server.authority = ("127.0.0.1", server.address[1]), authority
    with server.connect() as c:
        assert c.request("GET", "/v1/vms/x").status == 200
    server.stop()
    server.log.close()
