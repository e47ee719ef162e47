"""Sets of real guests: they start in waves, and one member is put back while the other runs on."""
from rig import HELLO, SLOW, eventually, processes

MACHINE = {"name": "pc", "image": "hello", "memory_mib": 16, "acceleration": "emulated", "networks": []}


def flat(one):
    return [vm for member in one["members"] for vm in member["vms"]]


def finished(rig, op):
    eventually(lambda: rig.api.get(f"/v1/operations/{op['id']}").json["finished_at"], SLOW, "its end")
    return rig.api.get(f"/v1/operations/{op['id']}").json


def test_one_member_is_put_back_while_the_other_runs_on(rig):
    rig.ensure_image("hello")
    made = rig.api.post("/v1/sets", {"name": "real", "count": 2, "machines": [dict(MACHINE, disks=[{"size_gib": 1}])],
                                     "ready_when": "console", "wave": 1})
    assert made.status == 201, made
    assert finished(rig, made.json["operation"])["state"] == "succeeded"
    first, second = flat(rig.api.get("/v1/sets/real").json)
    with rig.console(second["id"]) as c:
        c.expect(HELLO)  # what is typed before is lost
        c.send(b"still here")
        c.expect(b"still here")
        done = rig.api.post("/v1/sets/real/members/1/reset", wait=60, patience=90).json
        assert done["state"] == "succeeded", done
        c.send(b"and now")
        c.expect(b"and now")
    with rig.console(first["id"]) as c:
        c.expect(HELLO)
        c.send(b"anew")
        c.expect(b"anew")
    assert rig.vm(first["id"])["set"]["member"] == 1
    assert rig.api.delete("/v1/sets/real", wait=60, patience=90).json["state"] == "succeeded"
    assert not processes(first["id"]) and not processes(second["id"])


def test_all_members_are_put_back_again_and_again(rig):
    """Each has just begun to run when it is cleared: whoever looks at it then may not be in the way."""
    rig.ensure_image("hello")
    made = rig.api.post("/v1/sets", {"name": "again", "count": 4, "machines": [MACHINE], "wave": 4})
    assert finished(rig, made.json["operation"])["state"] == "succeeded"
    for _ in range(6):
        asked = [rig.api.post(f"/v1/sets/again/members/{member}/reset", patience=90).json for member in range(1, 5)]
        done = [finished(rig, op) for op in asked]
        assert all(op["state"] == "succeeded" for op in done), done
    assert rig.api.delete("/v1/sets/again", wait=60, patience=90).json["state"] == "succeeded"


def test_what_does_not_fit_waits_with_a_reason(fresh_rig):
    """One per cent of this host's memory may be promised: some fit, and the rest say what they wait for."""
    rig = fresh_rig(settings={"memory_overcommit_percent": 1, "memory_reserve_mib": 0, "set_wave": 16})
    rig.ensure_image("hello")
    total = rig.api.get("/v1/host").json["memory"]["total_bytes"] >> 20
    each = max(16, total // 100 // 2)  # two fit
    made = rig.api.post("/v1/sets", {"name": "tight", "count": 4, "machines": [dict(MACHINE, memory_mib=each)]})
    assert made.status == 201, made
    eventually(lambda: rig.api.get("/v1/sets/tight").json["vms"]["running"] >= 1 and
               (rig.api.get("/v1/sets/tight").json["progress"] or {}).get("waits_for"), SLOW, "a reason")
    shown = rig.api.get("/v1/sets/tight").json
    assert shown["state"] == "creating" and "memory_overcommit_percent" in shown["progress"]["waits_for"]
    assert shown["vms"]["failed"] == 0 and shown["vms"]["stopped"] >= 1
    waiting = [e for e in rig.api.get("/v1/events", limit=1000).json["items"] if e["type"] == "set.waiting"]
    assert len(waiting) == 1, "told once"
    running = [vm["id"] for vm in flat(shown) if vm["state"] == "running"]
    assert rig.api.post(f"/v1/vms/{running[0]}/stop", wait=60, patience=90).status == 200
    eventually(lambda: rig.api.get("/v1/sets/tight").json["vms"]["running"] == len(running), SLOW, "the next one")
    assert rig.api.delete("/v1/sets/tight", wait=90, patience=100).json["state"] == "succeeded"
