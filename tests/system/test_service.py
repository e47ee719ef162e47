"""droverd under systemd with the units in deploy/: user, sandbox, sockets, watchdog, journal."""
import re
import socket
import threading

import pytest

from installed import START_SECONDS, eventually
from certificates import Authority

ENTRY = {"info": "6", "warning": "4", "error": "3"}


def test_it_runs_as_its_own_user_and_listens(service, host):
    assert service.property("ActiveState") == "active" and service.property("StatusText").startswith("Listening on")
    pid = service.pid()
    status = host.run(f"cat /proc/{pid}/status")
    assert host.run(f"ps -o user= -p {pid}") == "drover"
    assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    assert service.client().get("/v1/host").json["hostname"] == "reference-host"


def test_the_units_are_sound(host, service):
    said = host.run("systemd-analyze verify droverd.service droverd.socket drover-guests.service", check=False)[1]
    assert [line for line in said.splitlines() if "man " not in line] == []  # no manual pages in there
    exposure = host.run("systemd-analyze security droverd.service --no-pager | tail -n 1")
    assert float(re.search(r"\d+\.\d+", exposure)[0]) <= 2.0, exposure


def test_the_packaged_default_is_qemu_system(service):
    # What libvirt can do is asked after it is connected.
    info = eventually(lambda: "uri" in (i := service.client().get("/v1/host").json)["libvirt"] and i, 120, "libvirt's facts")
    assert info["acceleration"]["mode"] == "kvm" and "reason" not in info["acceleration"], info
    assert info["libvirt"]["uri"] == "qemu:///system" and info["libvirt"]["connected"]
    assert info["vsock"] == {"usable": True}
    # polkit let it in: its user is in no group that could.
    assert "libvirt" not in service.host.run("id -nG drover").split()
    assert not service.host.succeeds("runuser -u nobody -- virsh -c qemu:///system list </dev/null")


def test_every_check_of_the_host_is_good(service):
    found = {c["id"]: c for c in service.client().get("/v1/host/checks").json["items"]}
    bad = {name: c for name, c in found.items() if c["result"] != "ok" and name != "ksm"}
    assert not bad and "kvm" in found and "vsock" in found, found


def test_root_needs_no_token_and_nobody_gets_in(service, host):
    assert "demo" in service.drover("image list")
    assert not host.succeeds(f"runuser -u nobody -- drover --socket {service.state}/drover.sock vm list")
    listed = host.run(f"find {service.state} -xdev -perm /o+r -type f ! -path '*/images/*' ! -name listen.addr")
    assert listed == "", listed
    assert not host.succeeds(f"runuser -u nobody -- ls {service.state}")


def test_the_journal_knows_priorities(service, host):
    entries = service.journal("_SYSTEMD_UNIT=droverd.service", "-b")
    by_text = {e["MESSAGE"]: e["PRIORITY"] for e in entries}
    assert by_text["libvirt is connected"] == ENTRY["info"]
    assert not [e["MESSAGE"] for e in entries if e["MESSAGE"].startswith("<")]
    # A failure is an error there, too.
    host.run("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd")
    try:
        assert eventually(lambda: [e for e in service.journal("-p", "warning", "-b") if "libvirt" in e["MESSAGE"]], 60,
                          "a warning in the journal", every=1)
    finally:
        host.run("systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket")
    service.wait_ready()


def test_reload_reads_the_settings_again(service, host):
    conf = host.run("cat /etc/drover/drover.conf")
    pid = service.pid()
    try:
        host.write("/etc/drover/drover.conf", conf + "\nlog_level = debug\n")
        service.systemctl("reload")
        eventually(lambda: any("settings read again" in e["MESSAGE"] for e in service.journal("-b")), 30, "the reload",
                   every=0.5)
        eventually(lambda: service.client().get("/v1/vms") and service.journal("-p", "debug..debug", "-b"), 30,
                   "a line of level debug", every=0.5)
    finally:
        host.write("/etc/drover/drover.conf", conf + "\n")
        service.systemctl("reload")
    assert service.pid() == pid


def test_a_bad_setting_keeps_the_daemon_that_runs(service, host):
    """A restart with a broken file must say what is wrong; ExecStartPre finds it."""
    conf = host.run("cat /etc/drover/drover.conf")
    try:
        host.write("/etc/drover/drover.conf", conf + "\njson_depth = 3\n")
        status, _ = host.run("systemctl restart droverd", check=False)
        assert status != 0
        assert any("json_depth" in e["MESSAGE"] and "4 to 128" in e["MESSAGE"] for e in service.journal("-b"))
    finally:
        host.write("/etc/drover/drover.conf", conf + "\n")
        host.run("systemctl reset-failed droverd droverd.socket; systemctl start droverd.socket droverd")
    service.wait_ready()


def test_a_connection_starts_it(service):
    service.systemctl("stop")
    assert service.property("ActiveState") == "inactive"
    assert service.client(token=None).get("/livez", patience=START_SECONDS).status == 200
    eventually(lambda: service.property("ActiveState") == "active", 60, "active", every=0.5)
    service.systemctl("stop")
    assert "demo" in service.drover("image list")  # the Unix socket, too
    service.wait_ready()


def test_connections_wait_while_it_restarts(service):
    """Not one of the requests sent meanwhile is refused."""
    done, seen = threading.Event(), []

    def ask():
        while not done.is_set():
            try:
                seen.append(service.client(token=None).get("/livez", patience=START_SECONDS).status)
            except (OSError, socket.timeout) as error:
                seen.append(error)
    asking = threading.Thread(target=ask)
    service.address  # the tunnel is there before the thread is
    asking.start()
    try:
        before = service.pid()
        service.systemctl("restart")
        service.wait_ready()
        count = len(seen)
        eventually(lambda: len(seen) > count + 3, 60, "some more answers")
    finally:
        done.set()
        asking.join()
    # One that the old daemon had in its hands when it stopped may be cut off; none is refused.
    cut = [s for s in seen if s not in (200, 503)]
    assert service.pid() != before and len(cut) <= 1 and len(seen) > 5, seen


@pytest.mark.parametrize("sign", ["KILL", "ABRT"])
def test_it_comes_back_after_a_crash(service, host, sign):
    before = service.pid()
    host.run(f"kill -{sign} {before}")
    eventually(lambda: service.property("ActiveState") == "active" and service.pid() not in (0, before), 60,
               "a new daemon", every=0.5)
    service.wait_ready()
    host.run("systemctl reset-failed droverd")


def test_the_watchdog_ends_one_that_hangs(service, host):
    drop_in = "/run/systemd/system/droverd.service.d/watchdog.conf"
    host.run(f"mkdir -p $(dirname {drop_in}) && printf '[Service]\\nWatchdogSec=10\\n' >{drop_in} && "
             "systemctl daemon-reload && systemctl restart droverd")
    try:
        service.wait_ready()
        before = service.pid()
        host.run(f"kill -STOP {before}")
        eventually(lambda: service.property("ActiveState") == "active" and service.pid() not in (0, before), 120,
                   "a new daemon", every=1)
        assert any("watchdog" in e["MESSAGE"].lower() for e in service.journal("-b"))
    finally:
        host.run(f"rm {drop_in} && systemctl daemon-reload && systemctl restart droverd")
    service.wait_ready()


def test_a_key_that_only_root_can_read_comes_as_a_credential(service, host, tmp_path):
    """systemd reads it and hands it over (LoadCredential=); the service's user could not."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    drop_in, there = "/run/systemd/system/droverd.service.d/tls.conf", "/run/credentials/droverd.service"
    conf = host.run("cat /etc/drover/drover.conf")
    host.run(f"mkdir -p -m 700 /root/tls $(dirname {drop_in})")
    for path in (certificate, key):
        host.write(f"/root/tls/{path.suffix[1:]}", path.read_bytes())
    host.write(drop_in, "[Service]\nLoadCredential=crt:/root/tls/crt\nLoadCredential=key:/root/tls/key\n")
    host.write("/etc/drover/drover.conf", conf + f"\ntls_certificate = {there}/crt\ntls_key = {there}/key\nnetwork_process = always\n")
    try:
        host.run("systemctl daemon-reload && systemctl restart droverd")
        service.context = authority.context()
        service.wait_ready()
        assert service.client().get("/v1/host").json["hostname"] == "reference-host"
        assert "demo" in service.drover("image list"), "the Unix socket is as it was"
        assert not host.succeeds("runuser -u drover -- cat /root/tls/key")
        assert not host.succeeds(f"runuser -u nobody -- cat {there}/key")
    finally:
        service.context = None
        host.write("/etc/drover/drover.conf", conf + "\n")
        host.run(f"rm -r {drop_in} /root/tls; systemctl daemon-reload; systemctl restart droverd")
    service.wait_ready()


def front_of(service, host):
    return host.run(f"pgrep -P {service.pid()} -x drover-front", check=False)[1].split()


def test_the_networks_process_is_shut_in_here_too(service, host):
    """The filter of the unit leaves it what it needs to shut itself in."""
    conf = host.run("cat /etc/drover/drover.conf")
    host.write("/etc/drover/drover.conf", conf + "\nnetwork_process = always\n")
    try:
        service.systemctl("restart")
        service.wait_ready()
        (pid,) = front_of(service, host)
        status = host.run(f"cat /proc/{pid}/status")
        assert host.run(f"ps -o user= -p {pid}") == "drover" and re.search(r"^Seccomp:\s+2$", status, re.M)
        assert re.search(r"^Seccomp_filters:\s+(\d+)$", status, re.M)[1] > re.search(
            r"^Seccomp_filters:\s+(\d+)$", host.run(f"cat /proc/{service.pid()}/status"), re.M)[1]
        assert not re.findall("libvirt|sqlite", host.run(f"cat /proc/{pid}/maps"))
        assert "has no Landlock" not in service.log()
        host.run(f"kill -9 {pid}")
        eventually(lambda: front_of(service, host) not in ([], [pid]), 60, "another", every=0.5)
        service.wait_ready()
    finally:
        host.write("/etc/drover/drover.conf", conf + "\n")
        service.systemctl("restart")
        service.wait_ready()
    assert not front_of(service, host)
