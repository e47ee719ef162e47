"""The Debian package: what removing and purging it leaves."""
from installed import eventually, install

UNITS = ("droverd.service", "droverd.socket", "drover-ksm.socket")


def test_removing_it_keeps_everything(service, host):
    """The last of the files here: the service is gone for a moment."""
    service.create(name="survives", wait="running")
    pid = service.qemu_pid(service.vm("survives")["id"])
    host.run("dpkg -r drover")
    assert all(not host.succeeds(f"systemctl is-active {unit}") for unit in UNITS)
    assert not host.succeeds("command -v droverd drover") and host.succeeds("test -e /var/lib/drover/drover.db")
    assert host.succeeds(f"kill -0 {pid}"), "a guest goes on"
    install(host)
    service.wait_ready()
    assert all(host.succeeds(f"systemctl is-enabled {unit} && systemctl is-active {unit}") for unit in UNITS)
    assert service.vm("survives")["state"] == "running" and service.qemu_pid(service.vm("survives")["id"]) == pid
    service.delete("survives")


def test_an_upgrade_restarts_the_daemon_and_no_guest(service, host):
    service.create(name="upgraded", wait="running")
    guest, daemon = service.qemu_pid(service.vm("upgraded")["id"]), service.pid()
    listening = host.run("systemctl show -P ActiveEnterTimestamp droverd.socket")
    assert listening, "connections come through the socket unit"
    install(host)
    eventually(lambda: service.pid() not in (0, daemon), 120, "another daemon", every=0.5)
    service.wait_ready()
    assert service.qemu_pid(service.vm("upgraded")["id"]) == guest
    assert host.run("systemctl show -P ActiveEnterTimestamp droverd.socket") == listening
    service.delete("upgraded")


def test_purging_it_keeps_peoples_disks(service, host):
    said = host.run("dpkg -P drover")
    try:
        assert "stay in /var/lib/drover" in said
        assert not host.succeeds("test -e /etc/drover") and host.succeeds("test -e /var/lib/drover/drover.db")
    finally:
        install(host)
    service.wait_ready()
