"""Where a VM is found: what libvirt's network leased to it, what the host's neighbour table knows."""
import os
import subprocess

import pytest
from daemon import Daemon, eventually


def addresses(api, vm):
    return [(a["address"], a["source"]) for a in api.get(f"/v1/vms/{vm}/addresses").json["items"]]


def test_a_lease_of_a_libvirt_network(api, make_vm, name):
    """The test driver leases addresses of its network `default` as libvirt's dnsmasq would."""
    who = name("leased")
    vm = api.post("/v1/vms", {"name": who, "networks": [{"mode": "network", "source": "default"}], "start": True}, wait="ip", timeout=30)
    assert vm.status == 201 and vm.json["state"] == "running", vm
    (address, source), = addresses(api, who)
    assert address.startswith("192.168.122.") and source == "lease"
    found, = api.get(f"/v1/vms/{who}/addresses").json["items"]
    assert found["mac"] == vm.json["networks"][0]["mac"] and found["prefix"] == 24
    assert api.post(f"/v1/vms/{who}/stop", wait=30).json["state"] == "succeeded"
    assert addresses(api, who) == [], "nobody has it now"
    assert api.delete(f"/v1/vms/{who}", force=True, wait=30).status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a network namespace")
def test_the_neighbour_table_of_the_host():
    """A daemon in a network of its own; the kernel learns where a guest on its bridge is, as by ARP."""
    from conftest import CONTRACT
    script = "ip link set lo up && ip link add guests type bridge && ip link set guests up && ip addr add 10.40.7.1/24 dev guests && " \
             'exec "$@"'
    with Daemon(check=CONTRACT.check, ready=False, wrapper=["unshare", "-n", "sh", "-c", script, "sh"]) as daemon:
        api = daemon.socket_client()
        eventually(lambda: api.get("/readyz").status == 200, 30, "libvirt")
        card = {"mode": "bridge", "source": "guests"}
        vms = [api.post("/v1/vms", {"name": f"vm-{i}", "networks": [card], "start": True}, wait="running").json for i in range(2)]
        macs = [vm["networks"][0]["mac"] for vm in vms]
        assert addresses(api, "vm-0") == []

        def learn(address, mac):
            subprocess.run(["nsenter", "-t", str(daemon.pid), "-n", "ip", "neigh", "replace", address, "lladdr", mac, "dev", "guests",
                            "nud", "reachable"], check=True)

        learn("10.40.7.10", macs[0])
        learn("10.40.7.99", "02:00:00:00:00:99")  # somebody else's
        assert api.get("/v1/vms/vm-0/wait", **{"for": "ip"}, timeout=30).status == 200
        assert addresses(api, "vm-0") == [("10.40.7.10", "arp")] and addresses(api, "vm-1") == []
        learn("10.40.7.10", macs[1])  # it has moved
        assert addresses(api, "vm-1") == [("10.40.7.10", "arp")] and addresses(api, "vm-0") == []
