"""What a definition becomes: domain XML, disks, acceleration, memory merging; and what deleting leaves."""
import hashlib
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import guests
from rig import SLOW, eventually, processes, qemu_pid


# ---- disks ----

def scribble():
    """A boot sector that reads sector 2, counts its first byte up, writes it back and prints it."""
    c = guests.start()
    c(0xB8, guests.word(0x0201))      # mov ax, 0x0201: read one sector
    c.near(0xE8, "disk")              # call
    c(0xBB, guests.word(0x7E00))      # mov bx, 0x7e00
    c(0xFE, 0x07)                     # inc byte [bx]
    c(0xB8, guests.word(0x0301))      # mov ax, 0x0301: write one sector
    c.near(0xE8, "disk")              # call
    c.address(0xBE, "line")           # mov si, line
    c.near(0xE8, "puts")              # call
    c(0xA0, guests.word(0x7E00))      # mov al, [0x7e00]
    c(0x04, ord("0"))                 # add al, '0'
    c.near(0xE8, "put")               # call
    c(0xB0, ord("\n"))                # mov al, '\n'
    c.near(0xE8, "put")               # call
    c.label("end")
    c(0xF4)                           # hlt
    c.short(0xEB, "end")              # jmp
    c.label("disk")
    c(0xBB, guests.word(0x7E00))      # mov bx, 0x7e00
    c(0xB9, guests.word(2))           # mov cx, 2: cylinder 0, sector 2
    c(0xBA, guests.word(0x80))        # mov dx, 0x80: the first disk
    c(0xCD, 0x13)                     # int 0x13
    c.short(0x72, "end")              # jc
    c(0xC3)                           # ret
    guests.subroutines(c)
    guests.text(c, "line", "Boot number ")
    return c.image()


@pytest.fixture(scope="module")
def scribbling(rig):
    """The image's name, its file in the store and its bytes."""
    data = scribble().ljust(1 << 20, b"\0")
    assert rig.api.post("/v1/images", {"name": "scribble", "kind": "disk", "format": "raw"}).status == 201
    answer = rig.api.put("/v1/images/scribble/content", data)
    assert answer.status == 200, answer
    digest = answer.json["files"]["content"]["sha256"]
    assert digest == hashlib.sha256(data).hexdigest()
    return "scribble", rig.state_dir / "images" / digest, data


def disk_info(path):
    out = subprocess.run(["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True)
    return json.loads(out.stdout)


def test_an_overlay_keeps_what_its_guest_writes_from_the_image(rig, scribbling):
    image, file, data = scribbling
    first = rig.create(image, root_disk_gib=1, wait="running")
    with rig.console(first["id"]) as c:
        c.expect(rb"Boot number 1\n")
    rig.act(first["id"], "stop")
    rig.act(first["id"], "start")
    with rig.console(first["id"]) as c:
        c.expect(rb"Boot number 2\n")  # the VM's own disk remembers
    second = rig.create(image, wait="running")  # another one begins from the image
    with rig.console(second["id"]) as c:
        c.expect(rb"Boot number 1\n")
    assert file.read_bytes() == data
    info = disk_info(rig.state_dir / "vms" / first["id"] / "root.qcow2")
    assert info["virtual-size"] == 1 << 30 and info["format"] == "qcow2"
    assert Path(info["full-backing-filename"]).samefile(file) and info["backing-filename-format"] == "raw"
    assert info["actual-size"] < 1 << 20
    assert rig.api.get(f"/v1/images/{image}").json["used_by"] == 2
    assert rig.api.delete(f"/v1/images/{image}").code == "image-in-use"


def test_a_root_disk_smaller_than_its_image_is_refused(rig, tmp_path):
    large = tmp_path / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", large, "2G"], check=True)
    assert rig.api.post("/v1/images", {"name": "large", "kind": "disk", "format": "qcow2"}).status == 201
    assert rig.api.put("/v1/images/large/content", large.read_bytes()).status == 200
    answer = rig.api.post("/v1/vms", {"name": "small", "image": "large", "root_disk_gib": 1})
    assert answer.code == "validation-failed" and answer.json["pointer"] == "/root_disk_gib", answer


# ---- the domain ----

def domain_xml(rig, name):
    found = sorted((rig.state_dir / "libvirt").rglob(f"{name}.xml"))
    assert found, f"no {name}.xml below {rig.state_dir / 'libvirt'}"
    return [ElementTree.parse(path).getroot() for path in found]


def test_the_domain_carries_our_mark(rig):
    vm = rig.create(name="marked", wait="running")
    trees = domain_xml(rig, "marked")
    assert len(trees) == 2  # what is defined, and what runs
    for tree in trees:
        domain = tree if tree.tag == "domain" else tree.find("domain")
        assert domain.findtext("uuid") == vm["id"] and domain.get("type") == "qemu"
        marks = list(domain.find("metadata"))
        assert len(marks) == 1, ElementTree.tostring(domain.find("metadata"))
        text = ElementTree.tostring(marks[0], encoding="unicode")
        install = installation(rig)
        assert "drover" in marks[0].tag and install in text and 'generation' in text
        assert not domain.findall(".//graphics") and not domain.findall(".//video/model[@type='vga']")


def installation(rig):
    import sqlite3
    with sqlite3.connect(f"file:{rig.state_dir / 'drover.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT value FROM meta WHERE key = 'install_id'").fetchone()[0]


# ---- acceleration ----

def kvm_check(rig):
    return next(c for c in rig.api.get("/v1/host/checks").json["items"] if c["id"] == "kvm")


def test_emulated_says_that_it_was_asked_for(rig):
    vm = rig.create(acceleration="emulated", wait="running")
    assert vm["effective_acceleration"] == "emulated"
    assert vm["acceleration_reason"] == "the definition asks for emulation"
    assert "-accel\0tcg" in Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()


def test_auto_agrees_with_the_checks(rig):
    """auto is KVM where KVM is whole; else emulation, and the VM says what the check says."""
    check = kvm_check(rig)
    vm = rig.create(acceleration="auto", wait="running")
    command = Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()
    if check["result"] == "ok":
        assert (vm["effective_acceleration"], vm["acceleration_reason"]) == ("kvm", "")
        assert "-accel\0kvm" in command
    else:
        assert vm["effective_acceleration"] == "emulated" and "-accel\0tcg" in command
        assert vm["acceleration_reason"] and vm["acceleration_reason"] in check["cause"]
        assert check["fix"]


def test_kvm_where_it_is_impossible(fresh_rig, tmp_path):
    """A daemon that may not open /dev/kvm: the VM has failed and says why; emulated, it runs."""
    rig = fresh_rig(wrapper=without_kvm(tmp_path))
    rig.expect_warning("vm.create of VM .* failed")
    check = kvm_check(rig)
    assert check["result"] == "failed" and check["cause"] and check["fix"]
    answer = rig.api.get("/v1/host").json["acceleration"]
    assert answer["mode"] == "emulated" and answer["cause"] and answer["fix"]
    made = rig.create(acceleration="kvm")
    failed = rig.wait_state(made["id"], "failed", seconds=SLOW)
    assert failed["state_reason"].startswith("KVM cannot be used: ")
    assert failed["effective_acceleration"] is None and not processes(made["id"])
    op = rig.api.get(f"/v1/operations/{made['operation']['id']}", wait=30).json  # the VM says so a moment before
    assert op["error"]["code"] == "not-supported-by-host" and op["error"]["pointer"] == "/acceleration"
    assert op["error"]["remedy"]
    auto = rig.create(acceleration="auto", wait="console")
    assert auto["effective_acceleration"] == "emulated" and auto["acceleration_reason"] in check["cause"]
    # The definition is put right, and the same VM starts.
    changed = rig.api.patch(f"/v1/vms/{made['id']}", {"acceleration": "auto"})
    assert changed.status == 200
    rig.act(made["id"], "start")
    assert rig.vm(made["id"])["effective_acceleration"] == "emulated"


def without_kvm(tmp_path):
    """A command prefix: a mount namespace of its own in which /dev/kvm is a device that is like /dev/null.

    Not /dev/null itself: libvirt gives what is mounted there another owner, mode and access list."""
    script, nothing = tmp_path / "without-kvm", tmp_path / "no-kvm"
    probe = subprocess.run(["unshare", "--mount", "--propagation", "private", "mknod", "-m", "666", nothing, "c", "1", "3"],
                           capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespace, or no device, of one's own here: {probe.stderr.decode().strip()}")
    script.write_text("#!/bin/sh\n"
                      f"[ ! -e /dev/kvm ] || mount --bind '{nothing}' /dev/kvm || exit 1\n"
                      'exec "$@"\n')
    script.chmod(0o755)
    return ["unshare", "--mount", "--propagation", "private", script]


# ---- KSM ----

def test_memory_merge_decides_what_ksm_may_have(rig):
    vms = {merge: rig.create(memory_merge=merge, wait="running")["id"] for merge in (True, False)}
    if not rig.api.get("/v1/ksm").json["available"]:
        pytest.skip("this kernel has no KSM")

    def ksm(merge):
        return eventually(lambda: rig.api.get(f"/v1/vms/{vms[merge]}/stats").json.get("ksm"), 20, "figures")
    for merge, vm in vms.items():
        command = Path(f"/proc/{qemu_pid(vm)}/cmdline").read_text()
        assert ("mem-merge=off" in command) == (not merge)
    on, off = ksm(True), ksm(False)
    if "mergeable" not in on:
        assert "rmap_items" in on or on["reason"]
        pytest.skip("this kernel does not say whether a process may be merged")
    # Whether it merges by now depends on the host's ksmd; that it may does not.
    assert on["mergeable"] is True and on["cause"] in ("merging", "host-off", "not-scanned-yet", "volatile")
    assert off["mergeable"] is False and off["cause"] == "off-for-vm" and off["reason"]
    assert off.get("merging_pages", 0) == 0


# ---- deleting ----

def test_deleting_leaves_nothing(rig):
    vm = rig.create(name="gone", disks=[{"size_gib": 1}], channels=["org.example.0"], wait="console")
    saved = rig.create(name="gone-saved", wait="console")
    rig.act(saved["id"], "save")
    for name in ("gone", "gone-saved"):
        rig.delete(name)
    for found in (vm, saved):
        assert not processes(found["id"])
        assert not (rig.state_dir / "vms" / found["id"]).exists()
        assert rig.api.get(f"/v1/vms/{found['id']}").code == "vm-not-found"
        assert rig.api.get(f"/v1/vms/{found['id']}/console/log").code == "vm-not-found"
    left = [p for p in rig.state_dir.rglob("*gone*")]
    assert not left, left
    again = rig.create(name="gone", wait="console")
    assert again["id"] != vm["id"] and again["etag"] == "1"
    assert rig.log_raw("gone").header("X-Drover-Oldest") == "0"


def test_deleting_a_vm_that_has_never_run(rig):
    vm = rig.create(name="never", start=False, disks=[{"size_gib": 1}])["id"]
    rig.wait_state(vm, "stopped")
    rig.delete("never")
    assert not (rig.state_dir / "vms" / vm).exists() and not list(rig.state_dir.rglob("never*"))


# ---- changes ----

def test_a_change_waits_for_the_next_start(rig):
    vm = rig.create(wait="running")
    changed = rig.api.patch(f"/v1/vms/{vm['id']}", {"memory_mib": 24, "labels": {"a": "b"}}).json
    assert changed["pending_changes"] and changed["memory_mib"] == 24
    assert "-m\0size=24" not in (before := Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()), before
    rig.act(vm["id"], "stop")
    assert not rig.vm(vm["id"])["pending_changes"]
    rig.act(vm["id"], "start")
    command = Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()
    assert "size=24576k" in command or "-m\x0024" in command or "size=25165824" in command, command
    renamed = rig.api.patch(f"/v1/vms/{vm['id']}", {"name": "renamed"}).json
    assert renamed["name"] == "renamed"
    rig.act("renamed", "stop")
    rig.act("renamed", "start")
    assert rig.vm("renamed")["id"] == vm["id"] and not rig.vm("renamed")["pending_changes"]
    assert "guest=renamed" in Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()


def test_a_name_given_up_by_a_vm_that_runs_is_free_at_once(rig):
    """libvirt calls the renamed one by its old name until its next start; nobody has to wait for that."""
    first = rig.create(name="contested", wait="running")
    assert rig.api.patch(f"/v1/vms/{first['id']}", {"name": "moved-on"}).status == 200
    second = rig.create(name="contested", wait="running")
    assert "guest=contested," in Path(f"/proc/{qemu_pid(first['id'])}/cmdline").read_text()
    assert f"guest=contested.{second['id'][:8]}," in Path(f"/proc/{qemu_pid(second['id'])}/cmdline").read_text()
    rig.act("moved-on", "stop")
    rig.act("contested", "stop")
    rig.act("contested", "start")
    assert rig.vm("contested")["id"] == second["id"]
    assert "guest=contested," in Path(f"/proc/{qemu_pid(second['id'])}/cmdline").read_text()
    rig.act("moved-on", "start")
    assert "guest=moved-on," in Path(f"/proc/{qemu_pid(first['id'])}/cmdline").read_text()
