"""What happens to a real guest's disk: copied away from its image, put onto another, published and
cloned. Boot sectors and the demo guest; a whole Debian is in test_debian.py."""
import json
import os
import subprocess
from pathlib import Path

import guests
from image_server import ImageServer
from rig import BUILD, HELLO, SLOW, eventually, processes, qemu_pid


def says(rig, vm, text):
    with rig.console(vm, from_=0) as c:
        c.expect(text)


def test_a_guest_boots_before_and_after_its_disk_is_flattened(rig):
    vm = rig.create(wait="running")
    says(rig, vm["id"], HELLO)
    rig.act(vm["id"], "stop")
    done = rig.act(vm["id"], "flatten")
    assert done["progress"]["done_bytes"] > 0 and done["progress"]["done_bytes"] == done["progress"]["total_bytes"]
    told = subprocess.run(["qemu-img", "info", "-f", "qcow2", rig.state_dir / "vms" / vm["id"] / "root.qcow2"], check=True,
                          capture_output=True, text=True).stdout
    assert "backing file" not in told
    rig.act(vm["id"], "start")
    says(rig, vm["id"], HELLO)


def test_a_guest_boots_before_and_after_it_stands_on_another_image(rig):
    """The same boot sector with another tail: what the guest sees must not change."""
    path = guests.write(rig.state_dir / "other", ["hello"], mib=1)["hello"]
    data = bytearray(path.read_bytes())
    data[700_000:] = b"\x55" * (len(data) - 700_000)
    assert rig.api.post("/v1/images", {"name": "other", "kind": "disk", "format": "raw"}).status == 201
    assert rig.api.put("/v1/images/other/content", bytes(data)).status == 200
    vm = rig.create(wait="running")
    says(rig, vm["id"], HELLO)
    refused = rig.api.post(f"/v1/vms/{vm['id']}/rebase", {"image": "other"})
    assert refused.status == 409 and refused.code == "vm-state-conflict"
    rig.act(vm["id"], "stop")
    answer = rig.api.post(f"/v1/vms/{vm['id']}/rebase", {"image": "other"}, wait=60, patience=90)
    assert answer.status == 200 and answer.json["state"] == "succeeded", answer
    assert answer.json["progress"]["done_bytes"] > 0
    assert rig.vm(vm["id"])["image"] == "other"
    assert rig.api.delete("/v1/images/other").code == "image-in-use"
    rig.act(vm["id"], "start")
    says(rig, vm["id"], HELLO)


def test_a_guest_that_rewrites_its_disk_with_a_header_boots_nothing_else(rig, tmp_path):
    """The guest's first sector becomes a qcow2 header that names a file of the host's."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"host's own" * 1000)
    header = tmp_path / "evil.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", header, "1M"], check=True)
    vm = rig.create(wait="running")
    says(rig, vm["id"], HELLO)
    rig.act(vm["id"], "stop")
    disk = rig.state_dir / "vms" / vm["id"] / "root.qcow2"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -s {header} 0 65536", disk], check=True, stdout=subprocess.DEVNULL)
    rig.act(vm["id"], "start")
    opened = [p.resolve() for p in Path(f"/proc/{qemu_pid(vm['id'])}/fd").iterdir()]
    assert disk.resolve() in opened and secret.resolve() not in opened
    rig.act(vm["id"], "stop")
    rig.act(vm["id"], "flatten")
    made = rig.api.post("/v1/images", {"name": "evil", "kind": "disk", "format": "qcow2", "source": {"vm": vm["id"]}}).json
    done = rig.api.get(f"/v1/operations/{made['operation']['id']}", wait=60, patience=90).json
    if done["state"] == "succeeded":  # as bytes of a disk, and nothing of the host's
        content = rig.state_dir / "images" / rig.api.get("/v1/images/evil").json["files"]["content"]["sha256"]
        assert b"host's own" not in content.read_bytes()
    rig.api.delete("/v1/images/evil")


def facts(rig, vm):
    def exec_(*argv):
        answer = rig.api.post(f"/v1/vms/{vm}/exec", {"argv": list(argv)}, patience=SLOW)
        assert answer.status == 200 and answer.json["exit_code"] == 0, answer
        return answer.json["stdout"].strip()
    command = Path(f"/proc/{qemu_pid(vm)}/cmdline").read_bytes().decode()
    return {"mac": exec_("cat", "/sys/class/net/eth0/address"), "uuid": exec_("cat", "/sys/class/dmi/id/product_uuid"),
            "generation": command[command.index("vmgenid"):].split("guid")[1][:42]}


def test_a_clone_of_a_linux_guest_is_somebody_else(rig, demo_image):
    """Its disk holds what was written; who it is comes from outside."""
    rig.ensure_image("demo")
    spec = {"memory_mib": 96, "networks": [{"mode": "user"}], "disks": [{"size_gib": 1}], "wait": "agent"}
    first, second = rig.create("demo", **spec), rig.create("demo", **spec)
    one, two = facts(rig, first["id"]), facts(rig, second["id"])
    assert all(one[fact] != two[fact] for fact in one), (one, two)
    assert one["mac"] == first["networks"][0]["mac"] and two["mac"] == second["networks"][0]["mac"]
    assert one["uuid"] == first["id"] and two["uuid"] == second["id"]
    assert {"id", "generation_id", "mac"} <= set(second["identity"]["fresh"])
    assert "machine_id" in second["identity"]["left_to_guest"]


def test_a_published_disk_boots_in_a_clone(rig):
    vm = rig.create(wait="running")
    says(rig, vm["id"], HELLO)
    rig.act(vm["id"], "stop") # while it runs: test_capture.py
    assert rig.api.post("/v1/images", {"name": "golden", "kind": "disk", "format": "qcow2", "source": {"vm": vm["id"]}}).status == 201
    eventually(lambda: rig.api.get("/v1/images/golden").json["state"] == "ready", 60, "the image")
    clone = rig.create("golden", wait="running")
    says(rig, clone["id"], HELLO)
    assert clone["id"] != vm["id"] and clone["vsock_cid"] != rig.vm(vm["id"])["vsock_cid"]


def drover(rig, *words, status=0):
    done = subprocess.run([BUILD / "drover", "--url", rig.url, *map(str, words)], capture_output=True, text=True, timeout=SLOW,
                          env={**os.environ, "DROVER_TOKEN": rig.admin_token()})
    assert done.returncode == status, done
    return done


def nothing_runs(rig):
    eventually(lambda: not processes(str(rig.state_dir)), 60, "no guest")
    return eventually(lambda: not [vm for vm in rig.api.get("/v1/vms").json["items"] if vm["name"].startswith("test-")],
                      60, "no VM")


def test_an_image_is_tried_out(fresh_rig):
    rig = fresh_rig()
    rig.ensure_image("hello")
    done = drover(rig, "image", "test", "hello", "--pattern", "^Hello from the boot", "--memory", "16")
    assert done.stdout.startswith("hello boots") and nothing_runs(rig)
    done = drover(rig, "image", "test", "hello", "--pattern", "never printed", "--timeout", "2", "--memory", "16", status=1)
    assert "did not come" in done.stderr and nothing_runs(rig)
    assert "--pattern" in drover(rig, "image", "test", "hello", status=2).stderr
    drover(rig, "image", "test", "nothing", "--pattern", "x", status=4)


def test_a_catalogue_entry_is_tried_out(fresh_rig, tmp_path):
    rig = fresh_rig(settings={"fetch_private": 1})
    book = tmp_path / "book"
    book.mkdir()
    (book / "hello.raw").write_bytes(guests.write(tmp_path, ["hello"], mib=1)["hello"].read_bytes())
    (book / "catalogue.json").write_text(json.dumps({"entries": [
        {"name": "greeter", "title": "It greets", "kind": "disk", "format": "raw", "files": {"content": {"path": "hello.raw"}},
         "vm": {"memory_mib": 16, "vsock": False}, "expected_console": "Hello from"}]}))
    key = drover(rig, "catalogue", "key", book / "key").stdout.strip()
    drover(rig, "catalogue", "build", book, "--key", book / "key")
    with ImageServer() as server:
        for file in ("index.json", "index.json.sig", "hello.raw"):
            server.files[f"/book/{file}"] = (book / file).read_bytes()
        added = rig.api.post("/v1/catalogue-sources", {"name": "ours", "url": server.url("/book/index.json"), "key": key})
        assert added.status == 201, added
        assert drover(rig, "image", "test", "greeter").stdout == "greeter boots: the console shows /Hello from/\n"
        assert nothing_runs(rig)
        drover(rig, "image", "test", "greeter", "--pattern", "something else", "--timeout", "2", status=1)
        assert nothing_runs(rig)
