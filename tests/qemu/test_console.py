"""The serial console: from the very first byte, to any number of viewers, and what is kept of it."""
import re

import pytest

from rig import HELLO, SLOW, eventually
from websocket import Refused

LINE = re.compile(rb"\d{10}\r\n")


@pytest.fixture(scope="module")
def hello(rig):
    return rig.create(wait="console")["id"]


@pytest.fixture
def counting(rig):
    return rig.create("count", wait="console")["id"]


def end_of(rig, vm):
    return int(rig.log_raw(vm).header("X-Drover-Next"))


def fully_read(rig, vm, console):
    """Everything the guest said until now has arrived."""
    while len(console.received) < end_of(rig, vm):
        console.receive()


def test_begins_with_the_very_first_byte(rig, hello):
    with rig.console(hello, subprotocols=["drover.console.v1"], from_=0) as c:
        first = c.control("hello")
        assert first["offset"] == 0 and first["oldest"] == 0 and first["mode"] == "control"
        assert first["viewers"] == 1
        c.expect(re.escape(HELLO), seconds=SLOW)
        assert c.received.startswith(HELLO)
        assert c.socket.subprotocol == "drover.console.v1"


@pytest.mark.parametrize("subprotocols", [[], ["binary"]])
def test_raw_is_bytes_only(rig, hello, subprotocols):
    with rig.console(hello, subprotocols=subprotocols) as c:
        c.expect(re.escape(HELLO))
        assert c.received.startswith(HELLO) and not c.controls
        assert c.socket.subprotocol == (subprotocols[0] if subprotocols else None)


def test_an_unknown_subprotocol_is_refused(rig, hello):
    with pytest.raises(Refused) as refused:
        rig.console(hello, subprotocols=["telnet"])
    assert refused.value.status == 400 and b"subprotocol-unknown" in refused.value.body


def test_what_is_typed_comes_back(rig, hello):
    with rig.console(hello, from_=end_of(rig, hello)) as c:
        c.send("as text")  # xterm.js's add-on sends text frames
        c.expect(rb"as text")
        every = bytes(range(256)) * 4
        c.send(every)
        c.expect(re.escape(every))


def test_typing_through_the_first_protocol(rig, hello):
    with rig.console(hello, subprotocols=["drover.console.v1"], from_=end_of(rig, hello)) as c:
        c.send(b"bytes")
        c.expect(rb"bytes")
        c.send('{"type": "dance"}')  # a text frame is control, and never typed
        assert c.control("error")["code"] == "unknown-control"
        c.send(b".")
        c.expect(rb"\.")
        assert c.received == b"bytes."


def test_all_viewers_see_the_same(rig, hello):
    viewers = [rig.console(hello) for _ in range(4)] + [rig.console(hello, mode="view")]
    viewers.append(rig.console(hello, subprotocols=["drover.console.v1"]))
    for c in viewers:
        c.expect(re.escape(HELLO))
    for i, c in enumerate(viewers[:4]):
        c.send(f"<viewer {i}>".encode())
        for other in viewers:
            other.expect(f"<viewer {i}>".encode())
    for c in viewers:
        fully_read(rig, hello, c)
    assert len({c.received for c in viewers}) == 1
    assert rig.log_raw(hello).body == viewers[0].received
    for c in viewers:
        c.close()


def test_viewers_are_counted(rig):
    """Of a VM of its own: those of another test may just be leaving."""
    vm = rig.create(wait="console")["id"]
    with rig.console(vm, subprotocols=["drover.console.v1"]) as first:
        assert first.control("hello")["viewers"] == 1
        assert first.control("viewers")["count"] == 1  # who is there already
        second = rig.console(vm)
        assert first.control("viewers")["count"] == 2
        second.close()
        assert first.control("viewers")["count"] == 1


def test_a_viewer_of_mode_view_cannot_type(rig, hello):
    start = end_of(rig, hello)
    with rig.console(hello, mode="view", from_=start) as view, rig.console(hello, from_=start) as control:
        view.send(b"FORBIDDEN")
        view.send("FORBIDDEN")
        control.send(b"allowed")
        control.expect(rb"allowed")
        view.expect(rb"allowed")
    # Once more, so that anything that was only late would have come.
    with rig.console(hello, from_=start) as control:
        control.send(b"!")
        control.expect(rb"!")
        assert control.received == b"allowed!"


def test_resuming_at_an_offset_leaves_no_hole(rig, counting):
    """Viewers that come and go, each where the last one left: every line once."""
    offset, text = None, b""
    for _ in range(6):
        with rig.console(counting, subprotocols=["drover.console.v1"], from_=offset) as c:
            hello = c.control("hello")
            assert offset is None or hello["offset"] == offset
            offset = hello["offset"]
            while len(c.received) < 8000:
                assert c.receive()
            assert not [m for m in c.controls if m["type"] == "gap"]
            text += c.received
            offset += len(c.received)
    first = LINE.search(text)
    numbers = [int(line[0]) for line in LINE.finditer(text, first.start())]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(numbers) > 3000
    # A raw viewer, too.
    offset = end_of(rig, counting)
    with rig.console(counting, from_=offset) as c:
        while len(c.received) < 4096:
            assert c.receive()
    again = rig.log_raw(counting, offset)
    if int(again.header("X-Drover-Offset")) == offset:  # else the ring has moved on
        assert again.body.startswith(c.received[:4096])


def test_what_is_gone_is_a_gap(fresh_rig):
    rig = fresh_rig(settings={"console_ring_bytes": 4096, "console_log_bytes": 65536})
    vm = rig.create("count", wait="console")["id"]
    eventually(lambda: int(rig.log_raw(vm).header("X-Drover-Oldest")) > 4096, 60, "4 KiB overwritten")
    with rig.console(vm, subprotocols=["drover.console.v1"], from_=12) as c:
        hello, gap = c.control("hello"), c.control("gap")
        assert hello["offset"] == 12 and gap["from"] == 12 and gap["to"] >= hello["oldest"] > 4096
        while len(c.received) < 24:
            assert c.receive()
        # The byte at offset N of this guest's output is known: line N / 12.
        column = gap["to"] % 12
        line = LINE.search(c.received)
        assert int(line[0]) == (gap["to"] - column) // 12 + (1 if column else 0)
        assert line.start() == (12 - column) % 12


def test_the_log_in_text_and_raw(rig, hello):
    raw = rig.log_raw(hello)
    assert raw.body.startswith(HELLO) and raw.header("X-Drover-Offset") == "0"
    assert raw.header("Content-Type") == "application/octet-stream"
    assert int(raw.header("X-Drover-Next")) == len(raw.body)
    text = rig.api.get(f"/v1/vms/{hello}/console/log")
    assert text.text.startswith("Hello from the boot sector. I echo.") and "\x1b" not in text.text
    part = rig.log_raw(hello, 6)
    assert part.body == raw.body[6:] and part.header("X-Drover-Offset") == "6"


def test_the_log_is_forgotten_on_request_and_stays_after_power_off(rig):
    vm = rig.create(wait="console")["id"]
    with rig.console(vm) as c:
        c.expect(re.escape(HELLO))
        c.send(b"before")
        c.expect(rb"before")
        fully_read(rig, vm, c)
        end = end_of(rig, vm)
        assert rig.api.delete(f"/v1/vms/{vm}/console/log").status == 204
        empty = rig.log_raw(vm)
        assert empty.body == b"" and int(empty.header("X-Drover-Oldest")) == end  # offsets go on
        c.send(b"after")
        c.expect(rb"after")  # the viewer was not disturbed
    with rig.console(vm, subprotocols=["drover.console.v1"], from_=0) as c:
        assert c.control("gap") == {"type": "gap", "from": 0, "to": end, "reason": "evicted"}
        c.expect(rb"after")
        assert c.received == b"after"
    with rig.console(vm) as watching:
        rig.act(vm, "stop")
        assert watching.until_closed() == 1000 and watching.received == b"after"
    assert rig.log_raw(vm).body == b"after"
    with rig.console(vm) as late:
        assert late.until_closed() == 1000 and late.received == b"after"


def test_the_next_boot_begins_anew_and_offsets_go_on(rig):
    vm = rig.create(wait="console")["id"]
    with rig.console(vm) as c:
        c.expect(re.escape(HELLO))
        c.send(b"first boot")
        c.expect(rb"first boot")
    rig.act(vm, "stop")
    end = end_of(rig, vm)
    rig.act(vm, "start")
    with rig.console(vm, subprotocols=["drover.console.v1"]) as c:
        hello = c.control("hello")
        assert hello["offset"] == hello["oldest"] == end
        c.expect(re.escape(HELLO))
        assert c.received == HELLO


def test_no_console_before_the_first_start(rig):
    vm = rig.create(start=False)["id"]
    with pytest.raises(Refused) as refused:
        rig.console(vm)
    assert refused.value.status == 409 and b"stream-unavailable" in refused.value.body
    assert rig.api.get(f"/v1/vms/{vm}/console/log").code == "stream-unavailable"


def test_one_keyboard_is_handed_over(rig):
    hello = rig.create(wait="console")["id"]
    with rig.console(hello) as c:
        c.expect(re.escape(HELLO))
    start = end_of(rig, hello)
    v1 = {"subprotocols": ["drover.console.v1"], "from_": start}
    with rig.console(hello, **v1) as a, rig.console(hello, **v1) as b:
        me, other = a.control("hello"), b.control("hello")
        if me["holder"] != me["id"]:
            a.send('{"type":"take-control"}')
            assert a.control("control")["holder"] == me["id"]
        b.send(b"REFUSED")
        assert b.control("error")["code"] == "not-holder"
        b.send('{"type":"request-control"}')
        asked = a.control("control")
        while not asked["requests"]:
            asked = a.control("control")
        assert asked["requests"] == [other["id"]]
        a.send('{"type":"grant-control","to":"%s"}' % other["id"])
        handed = b.control("control")
        while handed["holder"] != other["id"]:
            handed = b.control("control")
        b.send(b"mine now")
        a.expect(rb"mine now")
        assert b"REFUSED" not in a.received
    handed, = eventually(lambda: [e for e in rig.events(hello, "console.control") if e["data"]["how"] == "granted"])
    assert handed["actor"] == handed["data"]["viewer"]
    wanted = {"stream": "console", "viewer": handed["actor"], "name": handed["data"]["name"], "mode": "control"}
    eventually(lambda: rig.events(hello, "console.attached")[-1]["data"] == wanted, 20, str(wanted))
