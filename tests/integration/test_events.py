"""The event log as pages, as server-sent events and over a WebSocket."""
import json
import threading

import pytest
from websocket import Refused


def since(api):
    return api.get("/v1/events", limit=1).json["last_seq"]


def all_after(api, seq):
    items = []
    while True:
        page = api.get("/v1/events", since=seq, limit=50).json
        items += page["items"]
        if not page["next_cursor"]:
            return items
        seq = page["items"][-1]["seq"]


def test_a_vms_life_is_told_in_order(api, make_vm):
    start = since(api)
    vm = make_vm()
    api.post(f"/v1/vms/{vm['id']}/start", wait=30)
    api.patch(f"/v1/vms/{vm['id']}", {"description": "x"})
    api.post(f"/v1/vms/{vm['id']}/stop", wait=30)
    api.delete(f"/v1/vms/{vm['id']}", wait=30)
    events = all_after(api, start)
    seqs = [e["seq"] for e in events]
    assert seqs == sorted(set(seqs)) and seqs[0] > start
    mine = [e for e in events if e["subject"]["id"] == vm["id"] and e["type"].startswith("vm.")]
    types = [e["type"] for e in mine]
    assert types[0] == "vm.created" and types[-1] == "vm.deleted"
    assert "vm.changed" in types
    states = [e["data"]["state"] for e in mine if e["type"] == "vm.state"]
    assert "running" in states and "stopped" in states[states.index("running"):]
    finished = [e for e in events if e["type"] == "operation.finished" and e["data"]["state"] == "succeeded"]
    assert {e["data"]["kind"] for e in finished} >= {"vm.start", "vm.stop", "vm.delete"}


def test_pages_and_cursors_lose_nothing(api, make_vm):
    start = since(api)
    for _ in range(3):
        make_vm()
    whole = [e["seq"] for e in api.get("/v1/events", since=start, limit=1000).json["items"]]
    paged, page = [], api.get("/v1/events", since=start, limit=2).json
    while True:
        paged += [e["seq"] for e in page["items"]]
        if not page["next_cursor"]:
            break
        page = api.get("/v1/events", cursor=page["next_cursor"], limit=2).json
    assert paged[:len(whole)] == whole and len(whole) >= 3, "events may have come meanwhile, at the end only"


def test_bad_parameters(api):
    assert api.get("/v1/events", since=-1).json["pointer"] == "since"
    assert api.get("/v1/events", since="x").code == "invalid-argument"
    response = api.get("/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "x"})
    assert response.json["pointer"] == "Last-Event-ID"


def collect(stream, vm_id, last, found):
    for event_id, event in stream:
        assert int(event_id) == event["seq"]
        if event["subject"]["id"] == vm_id:
            found.append(event)
            if event["type"] == last:
                return


def test_server_sent_events_follow(api, make_vm):
    vm = make_vm()
    stream, found = api.sse(since=since(api)), []
    reader = threading.Thread(target=collect, args=(stream, vm["id"], "vm.deleted", found))
    reader.start()
    api.patch(f"/v1/vms/{vm['id']}", {"cpus": 2})
    api.delete(f"/v1/vms/{vm['id']}", wait=30)
    reader.join(30)
    assert not reader.is_alive()
    types = [e["type"] for e in found if e["type"].startswith("vm.")]
    assert types[0] == "vm.changed" and types[-1] == "vm.deleted"


def test_a_stream_without_since_begins_with_the_next_event(api, make_vm):
    old = make_vm()
    stream, found = api.sse(), []
    new = make_vm()
    reader = threading.Thread(target=collect, args=(stream, new["id"], "vm.created", found))
    reader.start()
    reader.join(30)
    assert found and found[0]["subject"]["id"] == new["id"] != old["id"]


def test_last_event_id_resumes_without_a_hole(api, make_vm):
    start = since(api)
    made = [make_vm()["id"] for _ in range(3)]
    expected = [e["seq"] for e in all_after(api, start)]
    stream = api.sse(headers={"Last-Event-ID": str(start)})
    got = [next(stream)[1]["seq"] for _ in range(len(expected))]
    stream.close()
    assert got == expected and len(made) == 3


def test_a_websocket_carries_one_event_in_each_text_frame(daemon, api, make_vm):
    start = since(api)
    with daemon.websocket(f"/v1/events?since={start}") as ws:
        vm = make_vm()
        while True:
            kind, data = ws.receive()
            event = json.loads(data)
            assert kind == 1 and event["seq"] > start
            if event["type"] == "vm.created":
                break
        assert event["subject"] == {"kind": "vm", "id": vm["id"], "name": vm["name"]}


def test_a_websocket_needs_a_credential(daemon):
    with pytest.raises(Refused) as refused:
        daemon.websocket("/v1/events", token=None)
    assert refused.value.status == 401


def test_pages_streams_and_sockets_tell_the_same(daemon, api, make_vm):
    start = since(api)
    make_vm()
    pages = all_after(api, start)
    sse = api.sse(since=start)
    with daemon.websocket(f"/v1/events?since={start}") as ws:
        for event in pages:
            assert next(sse)[1] == event
            assert json.loads(ws.receive()[1]) == event
    sse.close()
