"""A running guest's disk becomes an image: at one moment, frozen by its agent if that can, and thawed
whatever happens. Boot sectors; the agent is this file's, so that it can be asked what it was told."""
import os
import subprocess
import threading

import pytest

from rig import BUILD, HELLO, SLOW, eventually
from test_agent_hostile import Agent, ret


def says(rig, vm, text):
    with rig.console(vm, from_=0) as c:
        c.expect(text)


def publish(rig, vm, name, **more):
    return rig.api.post("/v1/images", {"name": name, "kind": "disk", "format": "qcow2", "source": {"vm": vm, **more}})


def finished(rig, made):
    assert made.status == 201, made
    return rig.api.get(f"/v1/operations/{made.json['operation']['id']}", wait=SLOW, patience=SLOW + 30).json


def captured(rig, made):
    operation = finished(rig, made)
    assert operation["state"] == "succeeded" and operation["progress"]["done_bytes"] > 0, operation
    image = rig.api.get(f"/v1/images/{made.json['id']}").json
    assert image["state"] == "ready"
    return image["source"]["capture"]


def agent_that_freezes(count=2):
    frozen = {"now": 0}

    def reply(command):
        if command["execute"] == "guest-fsfreeze-freeze":
            frozen["now"] = count
            return ret(count)
        if command["execute"] == "guest-fsfreeze-thaw":
            was, frozen["now"] = frozen["now"], 0
            return ret(was)
        return ret({})
    return reply


def heard(rig, vm, agent):
    """The daemon knows that there is an agent once it has answered."""
    eventually(lambda: rig.api.get(f"/v1/vms/{vm}/agent", patience=SLOW).json["state"] in ("ready", "degraded"), SLOW, "the agent")
    agent.commands.clear()


@pytest.fixture
def guest(rig):
    made = rig.create("hello", wait="running")
    says(rig, made["id"], HELLO)
    return made


def test_a_running_guest_without_an_agent_is_captured_as_after_a_power_cut(rig, guest):
    how = captured(rig, publish(rig, guest["name"], "running-1"))
    assert how == {"consistency": "crash", "frozen_ms": None, "filesystems": None}, how
    assert rig.vm(guest["id"])["state"] == "running"
    content = rig.state_dir / "images" / rig.api.get("/v1/images/running-1").json["files"]["content"]["sha256"]
    told = subprocess.run(["qemu-img", "info", "-f", "qcow2", content], check=True, capture_output=True, text=True).stdout
    assert "backing file" not in told
    clone = rig.create("running-1", wait="running")
    says(rig, clone["id"], HELLO)
    refused = publish(rig, guest["name"], "running-2", freeze="sometimes")
    assert refused.status == 422 and refused.json["pointer"] == "/source/freeze", refused
    assert publish(rig, guest["name"], "running-2", capture={"consistency": "frozen"}).json["pointer"] == "/source/capture"
    alone = rig.api.post("/v1/images", {"name": "running-2", "kind": "disk", "format": "raw", "source": {"format": "vmdk", "freeze": "no"}})
    assert alone.status == 422 and alone.json["pointer"] == "/source/freeze", alone
    assert rig.api.get("/v1/images/running-2").status == 404


def test_the_agent_freezes_it_for_a_moment(rig, guest):
    with Agent(rig, guest["id"], agent_that_freezes()) as agent:
        heard(rig, guest["id"], agent)
        how = captured(rig, publish(rig, guest["name"], "frozen-1", freeze="require"))
        assert how["consistency"] == "frozen" and how["filesystems"] == 2 and 0 <= how["frozen_ms"] < 10000, how
        told = [c for c in agent.commands if "fsfreeze" in c]
        assert told == ["guest-fsfreeze-freeze", "guest-fsfreeze-thaw"], told
        assert rig.events(guest["id"], "vm.frozen") and rig.events(guest["id"], "vm.thawed")
        # The same by itself; and not when nobody wants it.
        assert captured(rig, publish(rig, guest["name"], "frozen-2"))["consistency"] == "frozen"
        agent.commands.clear()
        assert captured(rig, publish(rig, guest["name"], "frozen-3", freeze="no"))["consistency"] == "crash"
        assert not [c for c in agent.commands if "fsfreeze" in c]
        env = {**os.environ, "DROVER_TOKEN": rig.admin_token()}
        subprocess.run([BUILD / "drover", "--url", rig.url, "image", "publish", guest["name"], "frozen-4", "--freeze", "require", "--format", "raw"],
                       check=True, env=env, timeout=SLOW, capture_output=True)
        assert rig.api.get("/v1/images/frozen-4").json["source"]["capture"]["consistency"] == "frozen"
    rig.act(guest["id"], "stop")
    assert captured(rig, publish(rig, guest["name"], "frozen-5"))["consistency"] == "off"


def test_an_agent_that_cannot_freeze(rig, guest):
    rig.expect_warning("image.publish of VM .* failed: the guest agent says: no such thing here")
    rig.expect_warning("cannot be thawed: the guest agent says: no such thing here")  # it goes on trying
    with Agent(rig, guest["id"], lambda c: {"error": {"class": "GenericError", "desc": "no such thing here"}} if "freeze" in c["execute"] else ret({})) as agent:
        heard(rig, guest["id"], agent)
        operation = finished(rig, publish(rig, guest["name"], "cannot-1", freeze="require"))
        assert operation["state"] == "failed" and operation["error"]["code"] == "agent-failed", operation
        failed = rig.api.get("/v1/images/cannot-1").json
        assert failed["state"] == "failed" and failed["files"] == {}
        assert "guest-fsfreeze-thaw" in agent.commands  # some may have been frozen all the same
        assert captured(rig, publish(rig, guest["name"], "cannot-2"))["consistency"] == "crash"
    assert rig.vm(guest["id"])["state"] == "running"


def test_what_somebody_else_thawed_was_not_frozen(rig, guest):
    """The agent says that nothing was frozen any more when it was thawed."""
    rig.expect_warning("image.publish of VM .* did not stay frozen")
    with Agent(rig, guest["id"], lambda c: ret(2 if c["execute"] == "guest-fsfreeze-freeze" else 0)) as agent:
        heard(rig, guest["id"], agent)
        operation = finished(rig, publish(rig, guest["name"], "thawed-1", freeze="require"))
        assert operation["state"] == "failed" and "did not stay frozen" in operation["error"]["detail"], operation
        assert captured(rig, publish(rig, guest["name"], "thawed-2"))["consistency"] == "crash"


def test_without_an_agent_nothing_is_required(rig):
    bare = rig.create("hello", wait="running", guest_agent=False)
    refused = publish(rig, bare["name"], "bare", freeze="require")
    assert refused.code == "vm-state-conflict" and refused.json["pointer"] == "/source/freeze", refused
    rig.act(bare["id"], "pause")
    assert captured(rig, publish(rig, bare["name"], "paused"))["consistency"] == "crash"
    assert rig.vm(bare["id"])["state"] == "paused"


def test_a_daemon_that_dies_while_it_is_frozen(fresh_rig):
    """Killed between freeze and thaw: the next one thaws, and captures anew."""
    own = fresh_rig()
    vm = own.create("hello", wait="running")["id"]
    asked = threading.Event()

    def silent(command):
        if command["execute"] == "guest-fsfreeze-freeze":
            asked.set()
            return None  # it freezes, and its answer never comes
        return ret({})

    with Agent(own, vm, silent) as agent:
        heard(own, vm, agent)
        made = publish(own, vm, "after-all")
        assert made.status == 201 and asked.wait(60)
        own.kill9()
    own.start()

    def connect():
        try:
            return Agent(own, vm, agent_that_freezes())
        except OSError:
            return None

    with eventually(connect, 60, "the daemon listens again") as agent:
        eventually(lambda: "guest-fsfreeze-thaw" in agent.commands, 60, "the thaw")
        operation = own.api.get(f"/v1/operations/{made.json['operation']['id']}", wait=SLOW, patience=SLOW + 30).json
        assert operation["state"] == "succeeded", operation
        assert own.api.get("/v1/images/after-all").json["state"] == "ready"
        assert own.vm(vm)["state"] == "running"
