"""A host boots, or libvirt was away: until libvirt was asked the daemon knows no more than what was stored before.

Clients may change a VM meanwhile, and starts may be let in: neither may make the daemon take what was for what is.
A first comparison once let go of a VM that was changed while libvirt answered: it was shown as running, and who
waits for the comparison to start again what ran before the boot took it for started.
"""
import os
import threading
import uuid

import pytest
from api_client import Client
from daemon import eventually
from test_host_stop import PATH, WITHIN, bootable, make, states

LIST, STATE, POWER_BUTTON = "CONNECT_LIST_ALL_DOMAINS", "DOMAIN_GET_STATE", "DOMAIN_SHUTDOWN_FLAGS"


def asked_to_shut_down(api, proxy):
    """The host's guests are being shut down, and `one` cannot be: it is on, and is to run again afterwards."""
    make(api, "one")
    proxy.fault(POWER_BUTTON, "error")
    asked = api.post(PATH)
    assert asked.status == 202, asked
    eventually(lambda: proxy.hit() and states(api)["one"] == "running", WITHIN, "a shutdown that libvirt refuses")
    return asked.json["id"]


def runs(api, libvirtd):
    return states(api)["one"] == "running" and libvirtd.virsh("domstate", "one").strip() == "running"


class Changes:
    """Of the VM `one`, one after the other."""

    def __init__(self, daemon):
        self.client, self.count, self.over = Client(daemon.url, daemon.admin_token()), 0, False
        self.thread = threading.Thread(target=self._go_on, daemon=True)

    def make(self):
        assert self.client.patch("/v1/vms/one", {"description": f"changed {self.count}"}).status == 200
        self.count += 1

    def _go_on(self):
        while not self.over:
            self.make()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over = True
        self.thread.join(WITHIN)
        assert not self.thread.is_alive()


def compare(daemon, proxy, silent):
    """The list of all domains is kept until the VM was changed. Then libvirt says nothing more of it; or everything,
    each time after one more change. Ends when the daemon takes it for compared."""
    api = daemon.client()
    eventually(lambda: proxy.held() == 1, WITHIN, "the list of all domains")
    vm, changes = api.get("/v1/vms/one").json["id"], Changes(daemon)
    before = states(api)
    changes.make()
    assert states(api) == before, "nobody was asked yet"
    if silent:
        proxy.fault(STATE, "hang", domain=vm)
        proxy.release(LIST)
        eventually(lambda: api.get("/readyz").status == 200, WITHIN, "a comparison")
    else:
        proxy.fault(STATE, "delay", domain=vm, seconds=0.2)
        with changes:
            proxy.release(LIST)
            eventually(lambda: api.get("/readyz").status == 200, WITHIN, "a comparison")
    proxy.clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.parametrize("silent", [True, False], ids=["libvirt-is-silent", "changed-all-the-time"])
def test_a_vm_is_changed_while_it_is_compared_after_a_boot(libvirtd, proxy, make_daemon, tmp_path, silent):
    """Its shutdown was overtaken by the boot, and it runs again."""
    boot_id, wrapper = bootable(tmp_path)
    daemon = make_daemon(libvirt=libvirtd.uri, wrapper=wrapper).start()
    api = daemon.client()
    asked_to_shut_down(api, proxy)
    last = api.get("/v1/events", limit=1000).json["items"][-1]["seq"]
    domain = libvirtd.domains()[api.get("/v1/vms/one").json["id"]]
    daemon.kill9()
    libvirtd.kill9()
    proxy.clear()
    libvirtd.start()
    libvirtd.define(domain)
    boot_id.write_text(f"{uuid.uuid4()}\n")
    daemon.ready = False
    proxy.fault(LIST, "hang", times=1)
    api = daemon.start().client()
    assert api.post("/v1/host/start-guests").status == 200, "the unit that lets guests in does not wait for libvirt"
    compare(daemon, proxy, silent)
    eventually(lambda: runs(api, libvirtd), WITHIN, "it runs again")
    told = [(e["data"]["state"], e["data"]["reason"]) for e in api.get("/v1/events", since=last, limit=1000).json["items"]
            if e["type"] == "vm.state"]
    assert told[0] == ("stopped", "the host went down") and told[-1][0] == "running", told


@pytest.mark.parametrize("silent", [True, False], ids=["libvirt-is-silent", "changed-all-the-time"])
def test_a_vm_is_changed_while_it_is_compared_after_an_outage(libvirtd, proxy, make_daemon, silent):
    """It is asked again, for as long as it takes. Somebody else started it; nobody tells of that any more."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    make(api, "one")
    assert api.post("/v1/vms/one/stop", wait=30).json["state"] == "succeeded"
    libvirtd.hide()
    proxy.cut()
    eventually(lambda: api.get("/readyz").status == 503, WITHIN, "libvirt's being away")
    libvirtd.virsh("start", "one")
    proxy.fault(LIST, "hang", times=1)
    libvirtd.front.symlink_to(proxy.path)
    compare(daemon, proxy, silent)
    eventually(lambda: runs(api, libvirtd), WITHIN, "its start is seen")


def test_starts_are_let_in_before_libvirt_was_asked(libvirtd, proxy, make_daemon):
    """The shutdown is called off. The guest obeys late, while libvirt is away and it is still shown as running."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    asked = asked_to_shut_down(api, proxy)
    assert api.delete(f"/v1/operations/{asked}").status == 200
    libvirtd.hide()
    proxy.cut()
    eventually(lambda: api.get("/readyz").status == 503, WITHIN, "libvirt's being away")
    libvirtd.virsh("destroy", "one")
    assert api.post("/v1/host/start-guests").status == 200
    assert states(api) == {"one": "running"}, "nobody was asked yet"
    proxy.clear()
    libvirtd.front.symlink_to(proxy.path)
    eventually(lambda: api.get("/readyz").status == 200, WITHIN, "libvirt's being back")
    eventually(lambda: runs(api, libvirtd), WITHIN, "it runs again")
