"""Python's websockets, as anybody would use it: raw bytes, with a header or with a ticket."""
import asyncio
import contextlib

import pytest
from rig import HELLO, SLOW
from websockets.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatusCode


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, SLOW))


def bearer(rig):
    return {"Authorization": f"Bearer {rig.admin_token()}"}


async def until(socket, text):
    """What came up to and including the text."""
    got = b""
    while text not in got:
        message = await socket.recv()
        assert isinstance(message, bytes), "a raw console sends binary frames"
        got += message
    return got


@pytest.mark.parametrize("subprotocols", [None, ["binary"]])
def test_reads_and_types(rig, hello, subprotocols):
    async def session():
        async with connect(f"ws://{rig.address}/v1/vms/{hello}/console", extra_headers=bearer(rig),
                           subprotocols=subprotocols) as socket:
            assert socket.subprotocol == (subprotocols[0] if subprotocols else None)
            assert (await until(socket, HELLO)).startswith(HELLO)
            await socket.send(b"bytes \x00\xff")
            await until(socket, b"bytes \x00\xff")
            await socket.send("käse as text")
            await until(socket, "käse as text".encode())
            await (await socket.ping())  # answered
        assert socket.close_code == 1000

    run(session())


def test_its_offer_to_compress_is_declined_and_nothing_breaks(rig, hello):
    async def session():
        async with connect(f"ws://{rig.address}/v1/vms/{hello}/console", extra_headers=bearer(rig),
                           compression="deflate") as socket:
            assert not socket.extensions
            await until(socket, HELLO)

    run(session())


def test_a_message_in_fragments(rig, hello):
    async def session():
        async with connect(f"ws://{rig.address}/v1/vms/{hello}/console", extra_headers=bearer(rig)) as socket:
            await until(socket, HELLO)
            await socket.send([b"one, ", b"two, ", b"three!"])  # three frames
            await until(socket, b"one, two, three!")

    run(session())


def test_a_tickets_address_is_all_it_needs(rig, hello):
    url = rig.api.post("/v1/tickets", {"vm": hello, "stream": "console", "mode": "control"}).json["url"]

    async def session():
        async with connect(url) as socket:
            await until(socket, HELLO)
            await socket.send(b"by ticket")
            await until(socket, b"by ticket")
        with pytest.raises(InvalidStatusCode) as refused:
            async with connect(url):
                pass
        assert refused.value.status_code == 410

    run(session())


def test_from_another_page_it_is_refused_before_the_upgrade(rig, hello):
    async def session():
        with pytest.raises(InvalidStatusCode) as refused:
            async with connect(f"ws://{rig.address}/v1/vms/{hello}/console", extra_headers=bearer(rig),
                               origin="https://evil.example"):
                pass
        assert refused.value.status_code == 403

    run(session())


def test_is_told_why_it_ended(rig):
    vm = rig.create(wait="console")["id"]

    async def session():
        async with connect(f"ws://{rig.address}/v1/vms/{vm}/console", extra_headers=bearer(rig)) as socket:
            await until(socket, HELLO)
            stopping = asyncio.get_running_loop().run_in_executor(None, rig.act, vm, "stop")
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.recv()
            assert socket.close_code == 1000
            await stopping

    run(session())
