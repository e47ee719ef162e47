"""Shutting down the guests of the host: each as its definition says, none waiting for another."""
import os

import pytest
from daemon import BUILD, eventually

SHIM = BUILD / "tests" / "deaf_guests.so"
# The address sanitizer wants to be the first library; this one asks it for nothing.
ENV = {"LD_PRELOAD": str(SHIM), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
PATH = "/v1/host/shutdown-guests"
WITHIN = 60

pytestmark = pytest.mark.skipif(not SHIM.exists(), reason=f"{SHIM} is not built")


def make(api, name, policy="shutdown", seconds=120, start=True, **more):
    made = api.post("/v1/vms", {"name": name, "memory_mib": 16, "networks": [], "start": start, "on_host_shutdown": policy,
                                "host_shutdown_seconds": seconds, **more}, **({"wait": "running"} if start else {}))
    assert made.status == 201, made


def states(api):
    return {vm["name"]: vm["state"] for vm in api.get("/v1/vms", limit=1000).json["items"]}


def report(api):
    return {vm["name"]: vm for vm in api.get(PATH).json["vms"]}


def outcomes(api):
    return {name: (vm["action"], vm["outcome"]) for name, vm in report(api).items()}


def shut_down(api):
    done = api.post(PATH, wait=WITHIN, patience=WITHIN + 30)
    assert done.status == 200 and done.json["kind"] == "host.shutdown-guests", done
    return done.json


def test_each_as_its_definition_says_and_back_again(fresh_daemon):
    daemon = fresh_daemon()
    api = daemon.client()
    assert api.get(PATH).json == {"refuses_starts": False, "operation_id": None, "vms": []}
    assert api.post("/v1/host/start-guests").json["refuses_starts"] is False, "nothing to do"
    for name, policy in (("asked", "shutdown"), ("kept", "save"), ("left", "leave"), ("still", "shutdown")):
        make(api, name, policy)
    make(api, "off", start=False)
    assert api.post("/v1/vms/still/pause", wait=30).json["state"] == "succeeded"
    done = shut_down(api)
    assert done["state"] == "succeeded" and (done["vm_id"], done["image_id"], done["set_id"]) == (None, None, None)
    assert done["progress"] == {"stage": None, "done_vms": 4, "failed_vms": 0, "total_vms": 4}
    assert states(api) == {"asked": "stopped", "kept": "saved", "left": "running", "still": "saved", "off": "stopped"}
    assert outcomes(api) == {"asked": ("shutdown", "shutdown"), "kept": ("save", "saved"), "left": ("leave", "left"),
                             "still": ("save", "saved")}
    for vm in report(api).values():
        assert vm["took_ms"] >= 0 and vm["finished_at"] >= vm["started_at"] and vm["detail"] == ""
    told = [e for e in api.get("/v1/events", limit=1000).json["items"] if e["data"].get("kind") == done["kind"]]
    assert [(e["type"], e["subject"]["kind"]) for e in told] == [("operation.started", "host"),
                                                                 ("operation.finished", "host")]

    # Nothing starts until the host was booted, or stays up after all; also after a crash.
    for refused in (api.post("/v1/vms/asked/start"), api.post("/v1/vms/kept/start"),
                    api.post("/v1/vms", {"name": "new", "memory_mib": 16, "start": True}),
                    api.post("/v1/leases", {"vm": {"name": "l", "memory_mib": 16}, "ttl_seconds": 60})):
        assert refused.status == 503 and refused.code == "host-shutting-down", refused
        assert "start-guests" in refused.json["remedy"]
    assert api.post("/v1/vms", {"name": "new", "memory_mib": 16}).status == 201, "defining is not starting"
    again = shut_down(api)
    assert again["id"] != done["id"] and again["state"] == "succeeded"
    assert outcomes(api)["asked"] == ("shutdown", "shutdown"), "what the first one did is known still"

    ended = api.post("/v1/host/start-guests")
    assert ended.status == 200 and ended.json["refuses_starts"] is False, ended
    eventually(lambda: states(api) == {"asked": "running", "kept": "running", "left": "running", "still": "saved",
                                       "off": "stopped", "new": "stopped"}, WITHIN, "those that ran are back")
    assert api.post("/v1/vms/still/start", wait=30).json["state"] == "succeeded"


def test_who_does_not_obey_is_stopped_and_delays_nobody(fresh_daemon):
    daemon = fresh_daemon(env=ENV, settings={"operation_workers": 3})
    api = daemon.client()
    names = [f"good-{i}" for i in range(6)]
    for name in names:
        make(api, name, "save" if name.endswith(("4", "5")) else "shutdown")
    make(api, "deaf", seconds=3)
    make(api, "stuck", "save", seconds=3)
    make(api, "full", "save")
    done = shut_down(api)
    assert done["state"] == "succeeded", done
    told = report(api)
    assert {told[n]["outcome"] for n in names[:4]} == {"shutdown"} and {told[n]["outcome"] for n in names[4:]} == {"saved"}
    assert (told["deaf"]["outcome"], told["stuck"]["outcome"]) == ("stopped", "stopped")
    assert told["deaf"]["detail"] == "it was not shut down within 3 seconds" and told["deaf"]["took_ms"] >= 3000
    assert told["stuck"]["detail"] == "it was not saved within 3 seconds" and told["stuck"]["took_ms"] >= 3000
    # One that cannot be saved is asked to shut down in the time that is left.
    assert outcomes(api)["full"] == ("shutdown", "shutdown") and told["full"]["detail"].startswith("could not be saved")
    assert all(told[n]["finished_at"] < told["deaf"]["finished_at"] for n in [*names, "full"]), told
    assert set(states(api).values()) == {"stopped", "saved"}
    assert api.post("/v1/host/start-guests").status == 200
    eventually(lambda: set(states(api).values()) == {"running"}, WITHIN, "all are back")


def test_a_cancelled_one_leaves_every_vm_as_it_is(fresh_daemon):
    daemon = fresh_daemon(env=ENV)
    api = daemon.client()
    make(api, "good")
    make(api, "deaf", seconds=3600)
    asked = api.post(PATH, headers={"Idempotency-Key": "once"})
    assert asked.status == 202, asked
    op = f"/v1/operations/{asked.json['id']}"
    assert api.post(PATH).json["id"] == asked.json["id"], "there is one at a time"
    repeated = api.post(PATH, headers={"Idempotency-Key": "once"})
    assert repeated.json["id"] == asked.json["id"] and repeated.header("Idempotency-Replayed") == "true"
    eventually(lambda: outcomes(api).get("good") == ("shutdown", "shutdown"), WITHIN, "the one that obeys is off")
    eventually(lambda: states(api)["deaf"] == "stopping", WITHIN, "the other one was asked")
    assert api.post("/v1/vms/good/start").code == "host-shutting-down"
    refused = api.post("/v1/host/start-guests")
    assert refused.code == "host-shutting-down" and asked.json["id"] in refused.json["detail"]
    operator = api.post("/v1/tokens", {"name": "o", "role": "operator"}).json["token"]
    assert daemon.client(operator).delete(op).code == "forbidden", "it took host:write to begin it"

    assert api.delete(op).json["state"] == "cancelled"
    assert outcomes(api) == {"good": ("shutdown", "shutdown"), "deaf": ("shutdown", "cancelled")}
    assert api.get(PATH).json["refuses_starts"] is False and states(api)["good"] == "stopped"
    assert api.post("/v1/vms/good/start", wait=30).json["state"] == "succeeded"
    assert states(api)["deaf"] in ("running", "stopping"), "no plug is pulled any more"
    api.post("/v1/vms/deaf/stop", wait=30)
    assert shut_down(api)["state"] == "succeeded", "another one begins anew"
    assert outcomes(api) == {"good": ("shutdown", "shutdown")}


def test_pools_and_sets_wait(fresh_daemon):
    api = fresh_daemon().client()
    assert api.put("/v1/pools/warm", {"vm": {"memory_mib": 16, "networks": []}, "ready": 2, "max": 3}).status == 201
    eventually(lambda: api.get("/v1/pools/warm").json["status"]["ready"] == 2, WITHIN, "the pool is full")
    lease = api.post("/v1/leases", {"pool": "warm", "ttl_seconds": 3600})
    assert lease.status == 201, lease
    eventually(lambda: api.get("/v1/pools/warm").json["status"]["ready"] == 2, WITHIN, "the pool is full again")
    assert shut_down(api)["state"] == "succeeded"
    assert sorted(outcomes(api).values()) == [("shutdown", "shutdown"), ("stop", "stopped"), ("stop", "stopped")]
    held = api.post("/v1/leases", {"pool": "warm", "ttl_seconds": 60})
    assert held.code == "host-shutting-down", held
    made = api.post("/v1/sets", {"name": "class", "count": 1, "machines": [{"name": "m", "memory_mib": 16, "networks": []}],
                                 "start": True})
    assert made.status in (201, 503), made
    assert "running" not in states(api).values()
    assert api.post("/v1/host/start-guests").status == 200
    eventually(lambda: api.get("/v1/pools/warm").json["status"]["ready"] == 2, WITHIN, "the pool fills itself")
    eventually(lambda: api.get(f"/v1/vms/{lease.json['vm']['id']}").json["state"] == "running", WITHIN, "the lease's VM")
    if made.status == 201:
        eventually(lambda: api.get("/v1/sets/class").json["vms"]["running"] == 1, WITHIN, "the set goes on")
