"""Consoles behind nginx, Caddy and HAProxy, with the files of deploy/proxy: connections reused, idle for long."""
import asyncio
import http.client
import json
import os
import time

import pytest
from proxies import NAME, Caddy, Haproxy, Nginx
from rig import HELLO, SLOW, eventually
from websockets.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatusCode

LONG = os.environ.get("DROVER_TEST_LONG")
PING, TIMEOUT, IDLE = 1, 4, 10  # seconds; the proxy would give up twice in that time
PROXIES = [Nginx, Caddy, Haproxy]


@pytest.fixture
def behind(tmp_path, make_rig):
    """behind(Nginx, ping=…): a daemon with a guest behind that proxy."""
    started = []

    def start(kind, read_timeout=None, **settings):
        if not kind.available():
            pytest.skip(f"{kind.program} is not installed")
        proxy = kind(tmp_path)
        proxy.read_timeout = read_timeout
        rig = make_rig(settings={"public_url": proxy.url, **settings}).start()
        started.append(proxy)
        proxy.start(rig.address)
        return rig, proxy

    yield start
    for proxy in started:
        proxy.stop()


class Rest(http.client.HTTPSConnection):
    """Requests of one client through the proxy, which is where the certificate's name leads."""

    def __init__(self, rig, proxy):
        super().__init__(NAME, proxy.port, context=proxy.tls(), timeout=60)
        self.token, self.proxy = rig.admin_token(), proxy

    def connect(self):
        self.sock = self.proxy.connect()

    def get(self, path):
        self.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())


def console(rig, proxy, vm, headers=None, **more):
    return connect(f"wss://{NAME}:{proxy.port}/v1/vms/{vm}/console", sock=proxy.plain(), ssl=proxy.tls(), server_hostname=NAME,
                   extra_headers={"Authorization": f"Bearer {rig.admin_token()}", **(headers or {})},
                   ping_interval=None, **more)  # silent by itself: only the daemon's pings are there


async def expect(socket, text):
    got = b""
    while text not in got:
        got += await socket.recv()
    return got


def run(coroutine, seconds=SLOW):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


@pytest.mark.parametrize("kind", PROXIES)
def test_one_upstream_connection_carries_requests_and_then_a_console(behind, kind):
    rig, proxy = behind(kind)
    vm = rig.create(wait="console")["id"]
    rest = Rest(rig, proxy)
    for _ in range(5):
        status, body = rest.get(f"/v1/vms/{vm}")
        assert status == 200 and body["id"] == vm
    assert len(proxy.upstream_ports()) == 1, "requests one after another share a connection"

    async def session():
        # Go, and so Caddy, keeps connections that asked for an upgrade apart: the refused one makes that one.
        with pytest.raises(InvalidStatusCode):
            async with console(rig, proxy, vm, subprotocols=["telnet"]):
                pass
        before = proxy.upstream_ports()
        async with console(rig, proxy, vm) as socket:
            assert (await expect(socket, HELLO)).startswith(HELLO)
            assert proxy.upstream_ports() == before, "the upgrade went over a connection there was"
            await socket.send(b"typed through a proxy")
            await expect(socket, b"typed through a proxy")
        assert socket.close_code == 1000
        return before

    before = run(session())
    eventually(lambda: len(before - proxy.upstream_ports()) == 1, 20, "the end of the connection that was a console")
    status, _ = rest.get(f"/v1/vms/{vm}")
    assert status == 200
    run(session_on_a_new_one(rig, proxy, vm))
    rest.close()


async def session_on_a_new_one(rig, proxy, vm):
    async with console(rig, proxy, vm, subprotocols=["drover.console.v1"]) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"
        assert socket.subprotocol == "drover.console.v1"


@pytest.mark.parametrize("kind", PROXIES)
def test_refusals_and_origins_pass_through(behind, kind):
    rig, proxy = behind(kind)
    vm = rig.create(wait="console")["id"]

    async def refused(status, **how):
        with pytest.raises(InvalidStatusCode) as found:
            async with console(rig, proxy, vm, **how):
                pass
        assert found.value.status_code == status

    async def session():
        await refused(403, origin="https://evil.example")
        await refused(403, origin=f"http://{NAME}:{proxy.port}")  # our name, but not our scheme
        await refused(401, headers={"Authorization": "Bearer drover_nobody"})
        await refused(400, subprotocols=["telnet"])
        async with console(rig, proxy, vm, origin=proxy.url) as socket:
            await expect(socket, HELLO)

    run(session())
    ticket = rig.api.post("/v1/tickets", {"vm": vm, "stream": "console", "mode": "view"}).json
    assert ticket["url"].startswith(proxy.url.replace("https", "wss"))


async def stay_idle(rig, proxy, vm, seconds):
    """Nothing happens for so long; then a key is pressed."""
    async with console(rig, proxy, vm) as socket:
        await expect(socket, HELLO)
        said = asyncio.ensure_future(expect(socket, b"still there"))
        ended, _ = await asyncio.wait([said], timeout=seconds)
        assert not ended, f"it ended within {seconds} s: {said}"
        await socket.send(b"still there")
        assert await said == b"still there"


@pytest.mark.parametrize("kind", PROXIES if LONG else PROXIES[:2])
def test_pings_keep_an_idle_console(behind, kind):
    rig, proxy = behind(kind, read_timeout=TIMEOUT, websocket_ping_seconds=PING)
    vm = rig.create(wait="console")["id"]
    run(stay_idle(rig, proxy, vm, IDLE))


def test_without_pings_nginx_gives_up(behind):
    """That the test above would notice."""
    rig, proxy = behind(Nginx, read_timeout=TIMEOUT, websocket_ping_seconds=600)
    vm = rig.create(wait="console")["id"]

    async def session():
        began = time.monotonic()
        async with console(rig, proxy, vm) as socket:
            await expect(socket, HELLO)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert time.monotonic() - began > TIMEOUT - 1

    run(session())


@pytest.mark.skipif(not LONG, reason="takes ten minutes: tests/run --long")
@pytest.mark.parametrize("kind", PROXIES)
def test_ten_minutes_with_default_timeouts(behind, kind):
    rig, proxy = behind(kind)
    vm = rig.create(wait="console")["id"]
    run(stay_idle(rig, proxy, vm, 600), 700)
