"""Two projects that do not trust each other never merge on one host, whoever starts first."""
import threading

import pytest
from rig import eventually, processes, qemu_pid


def offers(vm_id):
    """What QEMU was told: libvirt says mem-merge=off for a VM that offers no memory."""
    with open(f"/proc/{qemu_pid(vm_id)}/cmdline", "rb") as f:
        return b"mem-merge=off" not in f.read()


def cause(rig, vm_id, is_it, **query):
    """Until the figures are those of the process that runs now: it may have been started again just before."""
    def look():
        stats = rig.api.get(f"/v1/vms/{vm_id}/stats", **query).json
        return "process" in stats and is_it(stats["ksm"]["cause"])
    return eventually(look, 60, "a sample that says why its memory merges or does not")


def is_strangers(said):
    return said == "other-project"


@pytest.fixture
def two(fresh_rig):
    """A daemon with a second project, which does not trust the first, and VMs in both."""
    rig = fresh_rig(settings={"ksm_tuner": "off"})
    assert rig.api.post("/v1/projects", {"name": "lab", "memory_merge": True}).status == 201
    return rig


def make(rig, name, **query):
    made = rig.api.post("/v1/vms", {"name": name, "memory_mib": 16, "networks": []}, **query)
    assert made.status == 201, made
    return made.json["id"]


def act(rig, vm, verb, **query):
    done = rig.api.post(f"/v1/vms/{vm}/{verb}", wait=60, patience=90, **query)
    assert done.json["state"] == "succeeded", done


def gone(rig, vm, **query):
    done = rig.api.delete(f"/v1/vms/{vm}", force=True, wait=60, patience=90, **query)
    assert done.json["state"] == "succeeded", done
    eventually(lambda: not processes(vm), 60, "its QEMU is gone")


def test_the_first_merges_and_the_stranger_does_not(two):
    rig, lab = two, {"project": "lab"}
    mine, theirs = make(rig, "same"), make(rig, "same", **lab)
    act(rig, mine, "start")
    act(rig, theirs, "start", **lab)
    assert offers(mine) and not offers(theirs)
    assert cause(rig, theirs, is_strangers, **lab)
    assert "merge_with" in rig.api.get(f"/v1/vms/{theirs}/stats", **lab).json["ksm"]["reason"]

    # Trust that is not mutual is none.
    assert rig.api.patch("/v1/projects/lab", {"merge_with": ["default"]}).status == 200
    act(rig, theirs, "stop", **lab)
    act(rig, theirs, "start", **lab)
    assert not offers(theirs)

    # Mutual trust is, from the next start on; and it is not taken back while both merge.
    assert rig.api.patch("/v1/projects/default", {"merge_with": ["lab"]}).status == 200
    act(rig, theirs, "stop", **lab)
    act(rig, theirs, "start", **lab)
    assert offers(theirs) and cause(rig, theirs, lambda said: not is_strangers(said), **lab)
    for project in ("default", "lab"):
        kept = rig.api.patch(f"/v1/projects/{project}", {"merge_with": []})
        assert kept.status == 409 and kept.code == "project-in-use" and kept.json["remedy"], kept
    assert rig.api.get("/v1/projects/lab").json["merge_with"] == ["default"]
    gone(rig, mine)
    assert rig.api.patch("/v1/projects/lab", {"merge_with": []}).status == 200
    gone(rig, theirs, **lab)


def test_who_came_first_is_known_after_a_crash(two):
    rig, lab = two, {"project": "lab"}
    theirs, mine = make(rig, "first", **lab), make(rig, "second")
    act(rig, theirs, "start", **lab)
    rig.kill9()
    rig.start()
    act(rig, mine, "start")
    assert offers(theirs) and not offers(mine) and cause(rig, mine, is_strangers)
    gone(rig, theirs, **lab)
    act(rig, mine, "stop")
    act(rig, mine, "start")
    assert offers(mine)
    gone(rig, mine)


def test_saved_memory_that_offers_itself_waits_for_the_stranger_to_go(two):
    rig, lab = two, {"project": "lab"}
    mine, theirs = make(rig, "saved"), make(rig, "other", **lab)
    act(rig, mine, "start")
    assert offers(mine)
    act(rig, mine, "save")
    act(rig, theirs, "start", **lab)
    assert offers(theirs)
    rig.expect_warning("offers itself for merging")
    refused = rig.api.post(f"/v1/vms/{mine}/start", wait=60, patience=90)
    assert refused.json["state"] == "failed" and refused.json["error"]["code"] == "project-in-use", refused
    gone(rig, theirs, **lab)
    act(rig, mine, "start")
    assert rig.api.get(f"/v1/vms/{mine}").json["state_reason"] == "restored"
    gone(rig, mine)


def test_a_project_that_does_not_merge_offers_nothing(two):
    rig, lab = two, {"project": "lab"}
    assert rig.api.patch("/v1/projects/lab", {"memory_merge": False}).status == 200
    theirs, mine = make(rig, "off", **lab), make(rig, "on")
    act(rig, theirs, "start", **lab)
    assert not offers(theirs) and cause(rig, theirs, lambda said: said == "off-for-project", **lab)
    act(rig, mine, "start")
    assert offers(mine)
    gone(rig, theirs, **lab)
    gone(rig, mine)


def test_one_name_in_two_projects_at_once(two):
    """Both want it of libvirt, which has one of each: who is off gives it up, also in the middle of being defined."""
    rig, lab = two, {"project": "lab"}
    found = []

    def again_and_again(query):
        vm = make(rig, "both", **query)
        for _ in range(6):
            for verb in ("start", "stop"):
                done = rig.api.post(f"/v1/vms/{vm}/{verb}", wait=60, patience=90, **query)
                found.append((done.json["state"], done.json["error"]))

    threads = [threading.Thread(target=again_and_again, args=(query,)) for query in ({}, lab)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24 and {state for state, _ in found} == {"succeeded"}, found
