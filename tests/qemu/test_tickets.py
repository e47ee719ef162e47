"""Tickets: one use, for one stream of one VM, in one mode."""
import re

import pytest

from rig import HELLO, Console
from websocket import Refused


@pytest.fixture(scope="module")
def vms(rig):
    return [rig.create(wait="console", channels=["org.example.0"])["id"], rig.create(wait="console")["id"]]


def ticket(rig, vm, stream="console", mode="control", status=201):
    answer = rig.api.post("/v1/tickets", {"vm": vm, "stream": stream, "mode": mode})
    assert answer.status == status, answer
    return answer.json


def use(rig, vm, secret, mode="control", stream="console"):
    return Console(rig, vm, stream, token=None, ticket=secret, mode=mode, timeout=60)


def refused(rig, *args, **kw):
    with pytest.raises(Refused) as found:
        use(rig, *args, **kw)
    assert found.value.status == 410 and b"ticket-expired" in found.value.body
    return True


def test_opens_the_console_once(rig, vms):
    made = ticket(rig, vms[0])
    with use(rig, vms[0], made["ticket"]) as c:
        c.expect(re.escape(HELLO))
        c.send(b"typed")
        c.expect(rb"typed")
        assert refused(rig, vms[0], made["ticket"])
        c.send(b"more")  # the first holder is not disturbed
        c.expect(rb"more")
    assert refused(rig, vms[0], made["ticket"])


def test_the_url_works_as_it_is(rig, vms):
    made = ticket(rig, vms[0])
    assert made["url"].startswith(f"ws://{rig.address}/v1/vms/{vms[0]}/console?")
    with rig.websocket(made["url"].removeprefix(f"ws://{rig.address}"), token=None) as socket:
        assert socket.expect(HELLO).startswith(HELLO)


def test_is_for_one_vm(rig, vms):
    assert refused(rig, vms[1], ticket(rig, vms[0])["ticket"])
    assert refused(rig, "no-such-vm", ticket(rig, vms[0])["ticket"])


def test_is_for_one_stream(rig, vms):
    assert refused(rig, vms[0], ticket(rig, vms[0])["ticket"], stream="channels/org.example.0")
    assert refused(rig, vms[0], ticket(rig, vms[0], "channels/org.example.0")["ticket"])


def test_is_for_one_mode(rig, vms):
    assert refused(rig, vms[0], ticket(rig, vms[0], mode="view")["ticket"], mode="control")
    assert refused(rig, vms[0], ticket(rig, vms[0])["ticket"], mode="view")


def test_of_mode_view_cannot_type(rig, vms):
    start = int(rig.log_raw(vms[1]).header("X-Drover-Next"))
    made = ticket(rig, vms[1], mode="view")
    with use(rig, vms[1], made["ticket"], mode="view") as view, rig.console(vms[1], from_=start) as control:
        view.send(b"FORBIDDEN")
        control.send(b"ok.")
        control.expect(rb"ok\.")
        view.expect(rb"ok\.")
        assert control.received == b"ok."


def test_a_made_up_one_is_refused(rig, vms):
    assert refused(rig, vms[0], "x" * 43)


def test_none_for_a_stream_that_is_not_there(rig, vms):
    ticket(rig, vms[1], "channels/org.example.0", status=404)
    ticket(rig, "no-such-vm", status=404)
