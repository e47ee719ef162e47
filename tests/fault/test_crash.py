"""kill -9 of the daemon at random moments while clients create and delete."""
import re
import threading
import time
import uuid

import pytest
from invariants import events_are_gapless, everything_agrees, install_id, operations, quiet, unsuccessful, vms
from load import OFFLINE, Call, Clients, History, definition

ROUNDS = 10
ACTIONS = 200


def foreign_domains(daemon, libvirtd):
    """Domains that are not ours, among them some that look like it; {uuid: XML} as they must stay."""
    api = daemon.client()
    made = api.post("/v1/vms", {"name": "model", "memory_mib": 16}, headers={"Idempotency-Key": "model"})
    assert made.status == 201, made
    quiet(api)
    xml = libvirtd.domains()[made.json["id"]]
    before = set(libvirtd.domains())
    other = str(uuid.uuid4())
    assert install_id(daemon) in xml

    def copy(name, **replaced):
        text = re.sub("<name>[^<]*</name>", f"<name>{name}</name>", xml)
        text = re.sub("<mac address=[^/]*/>", "", text)
        for old, new in replaced.values():
            text = text.replace(old, new)
        libvirtd.define(text)

    # Another installation's, with everything else as ours; a copy by hand under a uuid of its own.
    copy("lookalike-1", install=(install_id(daemon), str(uuid.uuid4())), id=(made.json["id"], other))
    copy("lookalike-2", id=(f"<uuid>{made.json['id']}", f"<uuid>{uuid.uuid4()}"))
    for name in ("vm-0-1", "foreign"):
        libvirtd.define(f"<domain type='test'><name>{name}x</name><uuid>{uuid.uuid4()}</uuid><memory>16384</memory>"
                        "<os><type>hvm</type></os></domain>")
    libvirtd.virsh("start", "foreignx")
    assert api.delete("/v1/vms/model", force=True).status == 202
    quiet(api)
    after = libvirtd.domains()
    canaries = {u: x for u, x in after.items() if u not in before or u != made.json["id"]}
    assert len(canaries) >= 4
    return canaries


def kill_while_recovering(daemon, rng):
    """A second fault on top of the first: killed on its way up, wherever that is."""
    try:
        ready, daemon.ready = daemon.ready, False
        daemon.start()
        end = time.monotonic() + rng.random() * 0.6
        while time.monotonic() < end:
            pass
    finally:
        daemon.ready = ready
        daemon.kill9()


def settle(daemon, history):
    """The clients come back: they repeat, key and all, what they got no answer to."""
    api = daemon.client()
    before = {vm["name"]: vm["id"] for vm in vms(api)}
    unknown = [c for c in history.creates.values() if c.status is None]
    for call in unknown:
        answer = call.send(api)
        assert answer.status == 201, (call, answer)
        if call.name in before:
            assert call.id == before[call.name], "the same key made a second VM"
    for call in [c for c in history.deletes.values() if c.status is None]:
        answer = call.send(api)
        assert answer.status == 202, (call, answer)
    quiet(api)
    return len(unknown)


def check_history(daemon, history, listed):
    """What was acknowledged is so, once; what was acknowledged as deleted is not."""
    by_name = {}
    for vm in listed:
        by_name.setdefault(vm["name"], []).append(vm["id"])
    ops = operations(daemon.client())
    failed = unsuccessful(daemon.client())
    assert not failed, failed
    for name, create in history.creates.items():
        delete = history.deletes.get(name)
        gone = delete and delete.status == 202
        assert by_name.get(name, []) == ([] if gone else [create.id]), (create, delete)
        assert create.operation is None or create.operation in ops
    assert set(by_name) <= set(history.creates), "a VM that nobody asked for"


def check_events(daemon, history):
    seen = {"vm.created": [], "vm.deleted": []}
    for event in events_are_gapless(daemon.client()):
        if event["type"] in seen:
            seen[event["type"]].append(event["subject"]["id"])
    created, deleted = seen["vm.created"], seen["vm.deleted"]
    assert len(set(created)) == len(created) and len(set(deleted)) == len(deleted)
    assert {c.id for c in history.creates.values()} <= set(created)
    assert {c.id for c in history.deletes.values() if c.status == 202} <= set(deleted)


def test_kills_under_load(libvirtd, make_daemon, rng, long):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    canaries = foreign_domains(daemon, libvirtd)
    history, unknown, slowest, total = History(), 0, 0.0, 0
    for number in range(ROUNDS * long):
        clients = Clients(daemon, history, rng, ACTIONS, prefix=f"r{number}").start()
        clients.wait_for(rng.randrange(1, ACTIONS))
        end = time.monotonic() + rng.random() * 0.02
        while time.monotonic() < end:
            pass
        daemon.kill9()
        clients.join()
        total += clients.done
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            kill_while_recovering(daemon, rng)
        start = time.monotonic()
        daemon.start()
        slowest = max(slowest, time.monotonic() - start)
        quiet(daemon.client())
        # Before anything is repeated: what nobody was told of is complete or is nothing.
        everything_agrees(daemon, libvirtd, canaries)
        unknown += settle(daemon, history)
        check_history(daemon, history, everything_agrees(daemon, libvirtd, canaries))
    check_events(daemon, history)
    print(f"{ROUNDS * long} kills, {total} answered and {unknown} unanswered creates; "
          f"ready at most {slowest:.2f} s after the start")


def test_the_last_answer_before_the_kill(libvirtd, make_daemon, rng, long):
    """One client, killed the moment the answer is there: it is on the disk."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    history = History()
    for number in range(8 * long):
        api = daemon.client()
        for _ in range(rng.randrange(1, 4)):
            name = f"last-{history.count}"
            call = history.creation(name, definition(name, rng))
            assert call.send(api).status == 201
        if number % 2:
            assert history.deletion(rng).send(api).status == 202
        daemon.kill9()
        daemon.start()
        quiet(daemon.client())
        check_history(daemon, history, everything_agrees(daemon, libvirtd))
    check_events(daemon, history)


@pytest.mark.parametrize("kill", [False, True], ids=["alive", "killed"])
def test_the_same_key_from_everywhere(libvirtd, make_daemon, rng, kill):
    """Eight clients send one create with one key at once, several times over: one VM each time."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    for number in range(3 if kill else 20):
        name, answers = f"one-{number}", []
        calls = [Call("create", name, {"name": name, "memory_mib": 16}) for _ in range(8)]

        def send(call, api, answers=answers):
            try:
                answers.append(call.send(api))
            except OFFLINE:
                pass

        threads = []
        for call in calls:
            call.key = f"key-{number}"
            threads.append(threading.Thread(target=send, args=(call, daemon.client())))
        for thread in threads:
            thread.start()
        if kill:
            end = time.monotonic() + rng.random() * 0.02
            while time.monotonic() < end:
                pass
            daemon.kill9()
        for thread in threads:
            thread.join(30)
        assert kill or len(answers) == 8
        assert all(a.status == 201 for a in answers), answers
        if kill:
            daemon.start()
        api = daemon.client()
        for call in calls:
            assert call.send(api).status == 201
        assert len({call.id for call in calls}) == 1
        quiet(api)
        everything_agrees(daemon, libvirtd)
        assert [vm["name"] for vm in vms(api)] == [f"one-{i}" for i in range(number + 1)]
