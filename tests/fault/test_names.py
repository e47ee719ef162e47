"""A name is free as soon as its VM's deletion is promised, whatever becomes of that."""
import os
import signal

from daemon import eventually
from invariants import everything_agrees, quiet
from test_libvirt import make, state

WITHIN = 60


class Frozen:
    """libvirtd stands still meanwhile, so that nothing that dies can come to an end."""

    def __init__(self, libvirtd):
        self.pid = libvirtd.process.pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def replace(libvirtd, api, name, meanwhile):
    """Deletes it and makes another while libvirtd stands still; ids of both. It may be noticed too early."""
    for _ in range(5):
        old = make(api, name, start=True)
        with Frozen(libvirtd):
            gone = api.delete(f"/v1/vms/{old}", force=True)
            new = api.post("/v1/vms", {"name": name, "memory_mib": 16, "start": True})
            if gone.status == 202 and new.status == 201:
                meanwhile(old, new.json["id"])
                return old, new.json["id"]
        assert 503 in (gone.status, new.status), (gone, new)
        eventually(lambda: api.get("/readyz").status == 200, WITHIN, "libvirt's being back")
        api.delete(f"/v1/vms/{old}", force=True)
        eventually(lambda o=old: api.get(f"/v1/vms/{o}").status == 404, WITHIN, "the end of that try")
    raise AssertionError("libvirt was away each time")


def test_a_name_is_free_while_its_vm_dies(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()

    def look(old, new):
        assert state(api, old) == "deleting"
        assert api.get("/v1/vms/web").json["id"] == new, "by its name the living one is found"
        assert {vm["id"] for vm in api.get("/v1/vms", name="web").json["items"]} == {old, new}
        refused = api.post("/v1/vms", {"name": "web", "memory_mib": 16})
        assert refused.code == "name-in-use" or refused.status == 503, refused
        daemon.kill9()

    old, new = replace(libvirtd, api, "web", look)
    daemon.start()
    api = daemon.client()
    eventually(lambda: api.get(f"/v1/vms/{old}").status == 404 and state(api, new) == "running", WITHIN,
               "the old one's end and the new one's start")
    quiet(api)
    assert [vm["id"] for vm in everything_agrees(daemon, libvirtd)] == [new]
    # Its domain may have its second name; the next start gives it its own.
    for verb in ("stop", "start"):
        assert api.post(f"/v1/vms/web/{verb}", wait=30).status == 200
    assert api.delete("/v1/vms/web", force=True, wait=30).status == 200
    assert api.get("/v1/vms/web").status == 404


def test_a_deletion_that_failed_does_not_take_the_name_back(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    blocks = []

    def look(old, _):
        blocks.append(daemon.state_dir / "vms" / old / "somebody-elses")
        blocks[0].mkdir(parents=True)

    old, new = replace(libvirtd, api, "web", look)
    eventually(lambda: state(api, old) == "failed" and state(api, new) == "running", WITHIN,
               f"the failure ({state(api, old)}, {state(api, new)})")
    failed = api.get(f"/v1/vms/{old}").json
    assert failed["name"] == f"web-{old[:8]}" and "somebody-elses" in failed["state_reason"], failed
    assert api.get("/v1/vms/web").json["id"] == new
    blocks[0].rmdir()
    assert api.delete(f"/v1/vms/{failed['name']}", wait=30).status == 200
    quiet(api)
    assert [vm["id"] for vm in everything_agrees(daemon, libvirtd)] == [new]
