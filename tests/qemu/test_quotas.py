"""Quotas that need consoles: how many sockets may be open at the same time."""
import json
import re

import pytest

from rig import HELLO, Console, eventually
from websocket import Refused


@pytest.fixture(scope="module")
def vm(rig):
    return rig.create(wait="console", channels=["org.example.0"])["id"]


def token(rig, **quota):
    answer = rig.api.post("/v1/tokens", {"name": "few", "role": "operator", "quota": quota})
    assert answer.status == 201, answer
    return answer.json["id"], answer.json["token"]


def consoles(rig, token_id):
    return rig.api.get(f"/v1/tokens/{token_id}").json["usage"]["consoles"]


def refused(rig, vm, **kw):
    with pytest.raises(Refused) as found:
        Console(rig, vm, **kw)
    problem = json.loads(found.value.body)
    assert found.value.status == 429 and problem["code"] == "quota-exceeded", problem
    assert problem["resource"] == "consoles" and problem["scope"] == "token"
    return problem


def test_open_consoles_are_limited_and_given_back(rig, vm):
    token_id, secret = token(rig, consoles=2)
    with Console(rig, vm, token=secret) as first:
        first.expect(re.escape(HELLO))
        with Console(rig, vm, token=secret, mode="view"):
            assert consoles(rig, token_id) == 2
            problem = refused(rig, vm, token=secret)
            assert (problem["limit"], problem["used"], problem["requested"]) == (2, 2, 1)
            refused(rig, vm, token=secret, stream="channels/org.example.0")
            with Console(rig, vm) as other:  # of another token
                other.expect(re.escape(HELLO))
            first.send(b"not disturbed")
            first.expect(b"not disturbed")
        eventually(lambda: consoles(rig, token_id) == 1)
        with Console(rig, vm, token=secret) as third:
            third.expect(re.escape(HELLO))
    eventually(lambda: consoles(rig, token_id) == 0)


def test_a_share_link_counts_for_who_shared(rig, vm):
    token_id, secret = token(rig, consoles=1)
    answer = rig.client(token=secret).post("/v1/tickets", {"vm": vm, "stream": "console", "mode": "view",
                                                           "single_use": False, "expires_in_seconds": 600})
    assert answer.status == 201, answer
    with Console(rig, vm, token=None, ticket=answer.json["ticket"], mode="view") as viewer:
        viewer.expect(re.escape(HELLO))
        assert consoles(rig, token_id) == 1
        refused(rig, vm, token=secret)
        refused(rig, vm, token=None, ticket=answer.json["ticket"], mode="view")
    eventually(lambda: consoles(rig, token_id) == 0)


def test_disks_count_as_the_guest_sees_them(rig):
    rig.ensure_image("hello")
    size = rig.api.get("/v1/images/hello").json["files"]["content"]["virtual_size_bytes"]
    token_id, secret = token(rig, disk_bytes=2 * size + (1 << 30))
    client = rig.client(token=secret)
    spec = {"image": "hello", "memory_mib": 16, "networks": [], "acceleration": "emulated"}
    made = client.post("/v1/vms", {"name": "counted", **spec, "disks": [{"size_gib": 1}]})
    assert made.status == 201, made
    assert rig.api.get(f"/v1/tokens/{token_id}").json["usage"]["disk_bytes"] == size + (1 << 30)
    again = client.post("/v1/vms", {"name": "too-large", **spec, "root_disk_gib": 1})
    assert again.code == "quota-exceeded", again
    assert (again.json["resource"], again.json["requested"]) == ("disk_bytes", 1 << 30)
    second = client.post("/v1/vms", {"name": "fits", **spec})
    assert second.status == 201, second
    for vm in (made.json["id"], second.json["id"]):
        assert rig.api.delete(f"/v1/vms/{vm}", force=True, wait=60, patience=90).json["state"] == "succeeded"
    assert rig.api.get(f"/v1/tokens/{token_id}").json["usage"]["disk_bytes"] == 0
