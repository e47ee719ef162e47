"""Copies of disks that are interrupted: kill -9 at any moment of a conversion, a publication, a flattening
or a change of base, a full disk, and the same request again."""
import hashlib
import lzma
import os
import subprocess
import time

import pytest
from daemon import eventually
from image_server import ImageServer
from slow_disk import slow_vmdk
from test_disk import SmallDisk

MIB = 1 << 20
SETTINGS = {"free_space_floor_mib": 1}


def raw_of(path, fmt, tmp_path):
    out = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-f", fmt, "-O", "raw", path, out], check=True)
    return out.read_bytes()


def tmp_files(daemon):
    return sorted(os.listdir(daemon.state_dir / "images" / "tmp"))


def upload(api, name, data, fmt="raw", **more):
    answer = api.post("/v1/images", {"name": name, "kind": "disk", "format": fmt, **more})
    assert answer.status == 201, answer
    answer = api.put(f"/v1/images/{name}/content", data)
    assert answer.status in (200, 202), answer
    return answer.json


class Rig:
    """A daemon, a base and a stopped VM on it that has written into its disk."""

    def __init__(self, daemon, size):
        self.daemon, self.data = daemon, b"\x33" + os.urandom(size - 1)
        self.api = daemon.start().client()
        upload(self.api, "base", self.data)
        self.vm = self.make("vm", "base")

    def make(self, name, image):
        vm = self.api.post("/v1/vms", {"name": name, "image": image, "memory_mib": 16}).json
        done = self.api.get(f"/v1/operations/{vm['operation']['id']}", wait=60, patience=90).json
        assert done["state"] == "succeeded", done
        self.disk = self.daemon.state_dir / "vms" / vm["id"] / "root.qcow2"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 65 65536 65536", self.disk], check=True, stdout=subprocess.DEVNULL)
        return vm

    def restart(self):
        self.daemon.kill9()
        self.api = self.daemon.start().client()

    def finished(self, path, body, key):
        """The operation's end, asked for with the same request as before."""
        answer = self.api.post(path, body, headers={"Idempotency-Key": key})
        assert answer.status in (200, 201, 202), answer
        op = answer.json.get("operation", answer.json)
        if op is None:  # an image whose import is over
            return answer.json
        return eventually(lambda: o if (o := self.api.get(f"/v1/operations/{op['id']}", wait=30, patience=60).json)["state"]
                          not in ("queued", "running") else None, 120, "the operation's end")


@pytest.fixture
def rig(make_daemon):
    return Rig(make_daemon(libvirt="test:///default", settings=SETTINGS), 48 * MIB)


def kills(rig, rng, path, body, times):
    """The request, kill -9 soon after it, the request again; so many times in all. The last may end."""
    key = f"{path}-{rng.random()}"
    for _ in range(times):
        answer = rig.api.post(path, body, headers={"Idempotency-Key": key})
        assert answer.status in (200, 201, 202), answer
        until = time.monotonic() + rng.uniform(0, 0.25)
        while time.monotonic() < until:
            rig.api.get("/livez")
        rig.restart()
    return rig.finished(path, body, key)


def test_flatten_that_is_killed(rig, rng, tmp_path, long):
    before = raw_of(rig.disk, "qcow2", tmp_path)
    done = kills(rig, rng, "/v1/vms/vm/flatten", None, 4 * long)
    assert done["state"] == "succeeded", done
    assert raw_of(rig.disk, "qcow2", tmp_path) == before
    assert rig.api.delete("/v1/images/base").status == 204 and tmp_files(rig.daemon) == []
    assert [f for f in os.listdir(rig.disk.parent) if f.startswith("root")] == ["root.qcow2"]


def test_rebase_that_is_killed(rig, rng, tmp_path, long):
    upload(rig.api, "other", rig.data[:MIB] + os.urandom(len(rig.data) - MIB))
    before = raw_of(rig.disk, "qcow2", tmp_path)
    done = kills(rig, rng, "/v1/vms/vm/rebase", {"image": "other"}, 4 * long)
    assert done["state"] == "succeeded", done
    assert raw_of(rig.disk, "qcow2", tmp_path) == before
    assert rig.api.get("/v1/vms/vm").json["image"] == "other"
    assert rig.api.delete("/v1/images/base").status == 204 and rig.api.delete("/v1/images/other").code == "image-in-use"


def test_publish_that_is_killed(rig, rng, tmp_path, long):
    before = raw_of(rig.disk, "qcow2", tmp_path)
    body = {"name": "golden", "kind": "disk", "format": "qcow2", "source": {"vm": "vm"}}
    kills(rig, rng, "/v1/images", body, 4 * long)
    made = eventually(lambda: i if (i := rig.api.get("/v1/images/golden").json)["state"] != "importing" else None, 60, "the image")
    assert made["state"] == "ready", made
    content = rig.daemon.state_dir / "images" / made["files"]["content"]["sha256"]
    assert raw_of(content, "qcow2", tmp_path) == before and tmp_files(rig.daemon) == []
    assert len(rig.api.get("/v1/images").json["items"]) == 2


def test_a_conversion_that_is_killed(rig, rng, tmp_path, long):
    raw, vmdk = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
    raw.write_bytes(rig.data)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, vmdk], check=True)
    for i in range(4 * long):
        name = f"converted-{i}"
        op = upload(rig.api, name, vmdk.read_bytes(), "qcow2", source={"format": "vmdk"})["operation"]
        until = time.monotonic() + rng.uniform(0, 0.25)
        while time.monotonic() < until:
            rig.api.get("/livez")
        rig.restart()
        done = eventually(lambda: o if (o := rig.api.get(f"/v1/operations/{op['id']}", wait=30, patience=60).json)["state"]
                          not in ("queued", "running") else None, 120, "the operation's end")
        assert done["state"] == "succeeded", done
        made = rig.api.get(f"/v1/images/{name}").json
        content = rig.daemon.state_dir / "images" / made["files"]["content"]["sha256"]
        assert raw_of(content, "qcow2", tmp_path)[:len(rig.data)] == rig.data and tmp_files(rig.daemon) == []


def test_copies_that_meet_a_full_disk_say_so_and_can_be_asked_again(make_daemon, tmp_path):
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    disk = SmallDisk(mib=220)
    daemon = make_daemon(libvirt="test:///default", state_dir=disk.dir, settings=SETTINGS)
    try:
        daemon.log_path = tmp_path / "droverd.log"
        rig = Rig(daemon, 40 * MIB)
        upload(rig.api, "other", rig.data[:MIB] + os.urandom(len(rig.data) - MIB))
        before = raw_of(rig.disk, "qcow2", tmp_path)
        images = {i["name"] for i in rig.api.get("/v1/images").json["items"]}
        # Room for the database's rows and not for a copy.
        with open(disk.ballast, "wb") as file:
            stat = os.statvfs(disk.dir)
            file.write(b"\1" * (stat.f_bavail * stat.f_frsize - 16 * MIB))
        for path, body in (("/v1/vms/vm/flatten", None), ("/v1/vms/vm/rebase", {"image": "other"}),
                           ("/v1/images", {"name": "golden", "kind": "disk", "format": "qcow2", "source": {"vm": "vm"}})):
            answer = rig.api.post(path, body)
            if answer.status < 300:
                op = answer.json.get("operation", answer.json)
                done = rig.api.get(f"/v1/operations/{op['id']}", wait=60, patience=90).json
                assert done["state"] == "failed" and done["error"]["code"] == "insufficient-storage", (path, done)
            else:
                assert answer.code == "insufficient-storage", answer
            assert raw_of(rig.disk, "qcow2", tmp_path) == before and tmp_files(daemon) == [], path
        refused = rig.api.post("/v1/images", {"name": "big", "kind": "disk", "format": "raw"})
        assert refused.status == 201
        try:
            assert rig.api.put("/v1/images/big/content", rig.data).code == "insufficient-storage"
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        assert rig.api.get("/v1/images/big").json["files"] == {} and tmp_files(daemon) == []
        assert rig.api.get("/v1/vms/vm").json["image"] == "base"
        disk.free()
        for path, body in (("/v1/vms/vm/rebase", {"image": "other"}), ("/v1/vms/vm/flatten", None)):
            done = rig.finished(path, body, f"again {path}")
            assert done["state"] == "succeeded", (path, done)
            assert raw_of(rig.disk, "qcow2", tmp_path) == before
        assert images <= {i["name"] for i in rig.api.get("/v1/images").json["items"]}
    finally:
        daemon.close()
        disk.close()


def test_imports_that_meet_a_full_disk_while_they_arrive_unpack_or_convert(make_daemon, tmp_path):
    """Nobody could know before how much it would be: the source does not say it, or it is packed."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    disk = SmallDisk(mib=64)
    daemon = make_daemon(libvirt="test:///default", state_dir=disk.dir, settings={**SETTINGS, "fetch_private": 1})
    try:
        daemon.log_path = tmp_path / "droverd.log"
        api = daemon.start().client()
        disk.fill()
        with open(disk.ballast, "r+b") as file:  # but for the database, and for what is small
            file.truncate(disk.ballast.stat().st_size - 24 * MIB)
        with ImageServer() as server:
            much = b"\x33\xc0" + os.urandom(40 * MIB)
            packed = lzma.compress(b"\x33" * (40 * MIB), preset=0)
            server.files.update({"/much.raw": much, "/packed.xz": packed, "/all.vmdk": slow_vmdk(tmp_path / "all.vmdk")})

            def body(path, fmt, **source):
                data = server.files["/" + path.rsplit("/", 1)[1]]
                return {"name": path.rsplit("/", 1)[1].replace(".", "-"), "kind": "disk", "format": fmt,
                        "source": {"url": server.url(path), "sha256": hashlib.sha256(data).hexdigest(), **source}}

            bodies = [body("/plain/x/much.raw", "raw"), body("/packed.xz", "raw", compression="xz"),
                      body("/all.vmdk", "qcow2", format="vmdk")]
            for each in bodies:
                answer = api.post("/v1/images", each)
                assert answer.status == 201, answer
                done = api.get(f"/v1/operations/{answer.json['operation']['id']}", wait=60, patience=90).json
                assert done["state"] == "failed" and done["error"]["code"] == "insufficient-storage", (each, done)
                shown = api.get(f"/v1/images/{each['name']}").json
                assert shown["state"] == "failed" and shown["files"] == {} and tmp_files(daemon) == [], shown
                assert api.get("/readyz").status == 200, "there is room again"
            disk.free()
            for each in bodies[:2]:
                answer = api.post("/v1/images", each)
                assert answer.status == 201, answer
                done = api.get(f"/v1/operations/{answer.json['operation']['id']}", wait=60, patience=90).json
                assert done["state"] == "succeeded", (each, done)
                assert api.delete(f"/v1/images/{each['name']}").status == 204
    finally:
        daemon.close()
        disk.close()
