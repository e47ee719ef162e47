"""AppArmor as Debian has it: libvirt confines each QEMU, and what Drover runs on images runs in deploy/apparmor's
profile once an administrator has loaded that."""
import re
import threading

import pytest

from installed import SLOW, eventually
from rig import PROMPT

PROFILE = "drover-image"
EXAMPLE = "/root/drover/deploy/apparmor/drover-image"  # dpkg leaves examples out in there
WATCH = ("for i in $(seq 2000); do for p in $(pgrep -x qemu-img); do cat /proc/$p/attr/apparmor/current "
         "/proc/$p/attr/current 2>/dev/null; done; test ! -e /run/watched || break; done | sort | uniq -c; "
         "rm -f /run/watched")


@pytest.fixture(scope="module")
def profile(service, host):
    host.run(f"cp {EXAMPLE} /etc/apparmor.d/ && apparmor_parser -r /etc/apparmor.d/{PROFILE}")
    yield PROFILE
    host.run(f"apparmor_parser -R /etc/apparmor.d/{PROFILE}; rm /etc/apparmor.d/{PROFILE}")


@pytest.fixture(scope="module")
def source(service, host):
    """Where an image is imported from: a VMDK that qemu-img has to convert, on a web server of the host's own."""
    conf = host.run("cat /etc/drover/drover.conf")
    host.write("/etc/drover/drover.conf", conf + "\nfetch_private = true\n")
    service.systemctl("reload")
    host.run("""mkdir -p /root/files && cd /root/files
        head -c 64M /dev/urandom >disk.raw && qemu-img convert -q -f raw -O vmdk disk.raw disk.vmdk
        systemd-run -q --unit=files python3 -m http.server --bind 127.0.0.1 --directory /root/files 8900""")
    eventually(lambda: host.succeeds("curl -sf -o /dev/null http://127.0.0.1:8900/"), SLOW, "the web server", every=0.5)
    yield "http://127.0.0.1:8900/disk.vmdk"
    host.run("systemctl stop files; rm -r /root/files")
    host.write("/etc/drover/drover.conf", conf + "\n")
    service.systemctl("reload")


def import_image(service, source, name):
    sha256 = service.host.run("sha256sum /root/files/disk.vmdk").split()[0]
    service.drover(f"image import {name} {source} --from vmdk --sha256 {sha256}", seconds=SLOW)
    found = service.api.get(f"/v1/images/{name}").json
    assert found["state"] == "ready" and found["files"]["content"]["virtual_size_bytes"] == 64 << 20, found


def confined(host, command):
    return host.run(f"aa-exec -p {PROFILE} -- {command}", check=False)


def test_it_is_on(host):
    assert host.run("cat /sys/module/apparmor/parameters/enabled") == "Y"
    assert "apparmor" in host.run("virsh -c qemu:///system capabilities | grep -A1 '<secmodel>'")


def test_a_guest_is_confined_by_libvirt_and_its_streams_work(service, host):
    vm = service.create(name="confined", channels=["org.example.0"], wait="console", networks=[{"mode": "user"}],
                        disks=[{"size_gib": 1}])
    assert f"libvirt-{vm['id']} (enforce)" in host.run(f"cat /proc/{service.qemu_pid(vm['id'])}/attr/current")
    with service.console(vm["id"], timeout=SLOW) as c:
        c.expect(PROMPT, SLOW)
        assert c.run("echo $((6 * 7))") == "42"
    with service.console(vm["id"], "channels/org.example.0", timeout=SLOW) as c:
        c.send(b"to and fro")
        c.expect(b"to and fro")


def test_qemu_img_runs_in_the_profile_and_an_import_works(service, host, profile, source):
    seen = []
    watching = threading.Thread(target=lambda: seen.append(host.run(WATCH, check=False)[1]))
    watching.start()
    try:
        import_image(service, source, "walled")
        service.create("walled", name="of-walled", start=False)
        service.drover("image publish of-walled published", seconds=SLOW)
        service.delete("of-walled")
    finally:
        host.run("touch /run/watched")
        watching.join()
    for image in ("published", "walled"):
        service.drover(f"image delete {image}")
    words = {line.split(None, 1)[1] for line in seen[0].splitlines()}
    # Between fork and exec it has the name and not yet the profile.
    assert f"{PROFILE} (enforce)" in words and words <= {f"{PROFILE} (enforce)", "unconfined"}, seen
    assert denied(host) == [], "what it needs is allowed"


def denied(host):
    """What the kernel refused in the profile since the boot, but for what a test asked for."""
    said = host.run(f"journalctl -q --no-pager -o cat -b -k -g 'DENIED.*profile=.{PROFILE}' || true")
    return [line for line in said.splitlines() if "/etc/" not in line and "admin.token" not in line]


def test_a_forbidden_path_is_refused(service, host, profile):
    image = host.run(f"find {service.state}/images -type f -size +1M | head -n 1")
    status, said = confined(host, f"qemu-img info {image}")
    assert status == 0 and "virtual size" in said, said
    for path in ("/etc/shadow", "/etc/hostname", f"{service.state}/admin.token", f"{service.state}/drover.db"):
        status, said = confined(host, f"qemu-img info -f raw {path}")
        assert status != 0 and "Permission denied" in said, (path, said)
        assert host.succeeds(f"qemu-img info -f raw {path}"), "root itself may"
    status, said = confined(host, "/bin/cat /etc/hostname")
    assert status != 0 and re.search("ermission denied", said), said
    status, said = confined(host, "qemu-img info nbd://127.0.0.1:1/x")
    assert status != 0 and re.search("ermission denied|Failed to connect", said), said
    assert eventually(lambda: host.succeeds(f"journalctl -q -b -k -g 'DENIED.*{PROFILE}.*hostname'"), 30, "the denial")


def test_without_the_profile_it_goes_on(service, host, source):
    host.run(f"test ! -e /etc/apparmor.d/{PROFILE} || apparmor_parser -R /etc/apparmor.d/{PROFILE}")
    try:
        import_image(service, source, "open")
    finally:
        host.run(f"test ! -e /etc/apparmor.d/{PROFILE} || apparmor_parser -r /etc/apparmor.d/{PROFILE}")
    service.drover("image delete open")
