"""Images that the daemon brings by itself: from a URL, converted, from a VM."""
import hashlib
import lzma
import os
import subprocess
import time
from pathlib import Path

import pytest
from daemon import BUILD, eventually
from image_server import ImageServer
from slow_disk import slow_vmdk

MIB = 1 << 20
# Never all zeros, and no magic in front.
DATA = b"\x33\xc0" + os.urandom(3 * MIB) + b"\0" * MIB + os.urandom(1000)
SHA256 = hashlib.sha256(DATA).hexdigest()
SETTINGS = {"fetch_private": 1, "fetch_attempts": 3, "free_space_floor_mib": 0}


@pytest.fixture(scope="module")
def server():
    with ImageServer() as s:
        s.files["/data.raw"] = DATA
        yield s


@pytest.fixture(scope="module")
def daemon():
    from conftest import CONTRACT
    from daemon import Daemon
    with Daemon(check=CONTRACT.check, settings=SETTINGS) as d:
        yield d


def disk(name, url, **source):
    source.setdefault("sha256", SHA256)
    return {"name": name, "kind": "disk", "format": "raw", "source": {"url": url, **source}}


@pytest.fixture
def start(api, name):
    """start(body) posts an import; the image with its operation. Deleted afterwards."""
    made = []

    def post(body=None, client=api, **kw):
        response = client.post("/v1/images", body, **kw)
        assert response.status == 201, response
        made.append(response.json["id"])
        return response.json

    yield post
    for image in made:
        api.delete(f"/v1/images/{image}")


def finished(api, image):
    operation = api.get(f"/v1/operations/{image['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] in ("succeeded", "failed", "cancelled"), operation
    return operation


def leftovers(daemon):
    return sorted(os.listdir(daemon.state_dir / "images" / "tmp"))


def test_from_a_url(api, start, name, server, daemon):
    image = start(disk(name("web"), server.url("/data.raw")))
    assert image["operation"]["kind"] == "image.import" and image["operation"]["image_id"] == image["id"]
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation
    assert operation["progress"] == {"stage": None, "done_bytes": len(DATA), "total_bytes": len(DATA)}
    ready = api.get(f"/v1/images/{image['id']}").json
    assert ready["state"] == "ready" and ready["files"]["content"]["sha256"] == SHA256
    assert ready["source"] == {"url": server.url("/data.raw"), "sha256": SHA256}
    stored = (daemon.state_dir / "images" / SHA256).read_bytes()
    assert stored == DATA
    assert leftovers(daemon) == []


def test_sha512(api, start, name, server):
    body = disk(name(), server.url("/data.raw"))
    body["source"] = {"url": server.url("/data.raw"), "sha512": hashlib.sha512(DATA).hexdigest()}
    image = start(body)
    assert finished(api, image)["state"] == "succeeded"


def test_a_kernel_and_its_initrd(api, start, name, server):
    kernel = bytearray(os.urandom(65536))
    kernel[0:2], kernel[0x1f1], kernel[0x1fe:0x206], kernel[0x206:0x208] = b"MZ", 4, b"\x55\xaa\0\0HdrS", b"\x0f\x02"
    kernel[0x202:0x206], kernel[0x1f4:0x1f8] = b"HdrS", (1024).to_bytes(4, "little")
    image = start({"name": name(), "kind": "kernel", "cmdline": "console=ttyS0",
                   "source": {"kernel": server.add("/vmlinuz", bytes(kernel)),
                              "initrd": server.add("/initrd", b"\x1f\x8b\x08\0" + os.urandom(999))}})
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation
    assert set(api.get(f"/v1/images/{image['id']}").json["files"]) == {"kernel", "initrd"}


def test_dry_run_only_looks(api, name, server):
    body = disk(name("dry"), server.url("/data.raw"))
    response = api.post("/v1/images", body, dry_run=True)
    assert response.status == 200 and response.json["ok"], response
    assert response.json["size_bytes"] == len(DATA) and response.json["resumable"]
    assert {c["name"] for c in response.json["checks"]} == {"name", "hash", "reachable", "size", "header", "free_space"}
    assert api.get(f"/v1/images/{body['name']}").status == 404
    bad = api.post("/v1/images", disk(body["name"], server.url("/missing.raw")), dry_run=True).json
    assert not bad["ok"]
    assert [c["problem"]["code"] for c in bad["checks"] if not c["ok"]] == ["source-unreachable"]


def test_dry_run_tells_of_room(fresh_daemon, server):
    """Of an import, of an upload and of a VM's disk: the floor lies above all that is free."""
    daemon = fresh_daemon(settings={**SETTINGS, "free_space_floor_mib": 0})
    api = daemon.client()
    assert api.post("/v1/images", {"name": "base", "kind": "disk", "format": "raw"}).status == 201
    assert api.put("/v1/images/base/content", DATA).json["state"] == "ready"
    vm = api.post("/v1/vms", {"name": "vm", "image": "base"}).json
    assert api.get(f"/v1/operations/{vm['operation']['id']}", wait=30).json["state"] == "succeeded"
    bodies = [disk("new", server.url("/data.raw")), {"name": "new", "kind": "disk", "format": "raw"},
              {"name": "new", "kind": "disk", "format": "qcow2", "source": {"vm": "vm"}}]
    for body in bodies:
        assert api.post("/v1/images", body, dry_run=True).json["ok"], body
    daemon.stop()
    daemon.settings["free_space_floor_mib"] = 1048576
    daemon.ready = False  # it says that there is no room
    api = daemon.start().client()
    for body in bodies:
        checks = api.post("/v1/images", body, dry_run=True).json
        assert [c["problem"]["code"] for c in checks["checks"] if not c["ok"]] == ["insufficient-storage"], (body, checks)
    for body in (bodies[0], bodies[2]):
        assert api.post("/v1/images", body).code == "insufficient-storage"
    assert api.get("/v1/images/new").status == 404


def test_what_is_wrong_with_a_source(api, server):
    url, kernel = server.url("/data.raw"), {"url": server.url("/k"), "sha256": SHA256}
    cases = [({}, "/source/url"), ({"url": url}, "/source"), ({"url": url, "sha256": "ab"}, "/source/sha256"),
             ({"url": url, "sha256": SHA256.upper()}, "/source/sha256"), ({"sha256": SHA256}, "/source/url"),
             ({"url": url, "sha256": SHA256, "sha512": "0" * 128}, "/source"),
             ({"url": url, "sha256": SHA256, "md5": "x"}, "/source/md5"),
             ({"url": url, "sha256": SHA256, "format": "qed"}, "/source/format"),
             ({"url": url, "sha256": SHA256, "compression": "zip"}, "/source/compression"),
             ({"kernel": kernel}, "/source/kernel"), ({"vm": "nobody"}, "/source/vm"),
             ({"vm": "nobody", "url": url}, "/source/vm"), ([], "/source")]
    for source, pointer in cases:
        response = api.post("/v1/images", {"name": "a", "kind": "disk", "format": "raw", "source": source})
        assert response.status == 422 and response.json["pointer"] == pointer, (source, response)
    for source, pointer in (({"url": url, "sha256": SHA256}, "/source"), ({"kernel": {"url": url}}, "/source/kernel"),
                            ({"kernel": kernel, "format": "qcow2"}, "/source/format"),
                            ({"kernel": kernel, "initrd": {"sha256": SHA256}}, "/source/initrd/url")):
        response = api.post("/v1/images", {"name": "a", "kind": "kernel", "source": source})
        assert response.status == 422 and response.json["pointer"] == pointer, (source, response)


@pytest.mark.parametrize("url", ["file:///etc/shadow", "ftp://localhost/x", "gopher://localhost/", "http://", "x",
                                 "http://user:secret@localhost/", "http://local host/", "http://a/\u00e9",
                                 "http://a/" + "b" * 2040, "dict://localhost:1/", "http:///etc/passwd\n"])
def test_addresses_that_are_never_fetched(api, url):
    response = api.post("/v1/images", disk("never", url))
    assert response.status == 422 and response.code in ("source-refused", "validation-failed"), response
    assert response.json["pointer"] == "/source/url"


def test_private_addresses_are_refused_without_the_setting(fresh_daemon, server):
    daemon = fresh_daemon()
    api = daemon.client()
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "2130706433"):
        response = api.post("/v1/images", disk("private", f"http://{host}:{server.port}/data.raw"))
        assert response.status == 422 and response.code == "source-refused", (host, response)
    assert api.get("/v1/images").json["items"] == []


def test_early_refusals_cost_nothing(api, name, server):
    server.files["/qcow2"] = b"QFI\xfb" + os.urandom(5 * MIB)
    for path, code in (("/status/404/x", "source-unreachable"), ("/status/500/x", "source-unreachable"),
                       ("/qcow2", "image-refused"), ("/status/403/x", "source-unreachable")):
        response = api.post("/v1/images", disk(name(), server.url(path)))
        assert response.code == code, (path, response)
    assert response.json["detail"] == "the source answers with status 403"


def test_redirects_are_followed_but_not_everywhere(api, start, name, server):
    server.redirects.update({"good": server.url("/data.raw"), "file": "file:///etc/shadow",
                             "loop": server.url("/redirect/loop"), "ftp": "ftp://127.0.0.1/x"})
    assert finished(api, start(disk(name(), server.url("/redirect/good"))))["state"] == "succeeded"
    for path in ("file", "loop", "ftp"):
        response = api.post("/v1/images", disk(name(), server.url(f"/redirect/{path}")))
        assert response.code == "source-refused", (path, response)


def test_a_download_goes_on_where_it_broke_off(api, start, name, server):
    image = start(disk(name(), server.url("/cut/1000000/data.raw")))
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation
    with server.lock:
        ranges = [h["Range"] for p, h in server.requests if p == "/cut/1000000/data.raw" and "If-Range" in h]
    assert len(ranges) >= 3 and len(set(ranges)) == len(ranges)


def test_without_ranges_it_begins_anew_and_gives_up(api, start, name, server):
    server.files["/short.raw"] = DATA
    image = start(disk(name(), server.url("/norange/x/data.raw")))
    assert finished(api, image)["state"] == "succeeded"


def test_a_file_that_changes_under_way_begins_anew(api, start, name, server):
    server.turn = 0
    image = start(disk(name(), server.url("/changing/3/data.raw")))
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation


def test_no_length_is_no_obstacle(api, start, name, server):
    assert finished(api, start(disk(name(), server.url("/plain/x/data.raw"))))["state"] == "succeeded"


def test_a_wrong_hash_leaves_a_reason_and_no_bytes(api, start, name, server, daemon):
    body = disk(name("wrong"), server.url("/data.raw"), sha256="0" * 64)
    image = start(body)
    operation = finished(api, image)
    assert operation["state"] == "failed" and operation["error"]["code"] == "digest-mismatch"
    shown = api.get(f"/v1/images/{image['id']}").json
    assert shown["state"] == "failed" and SHA256 in shown["state_reason"] and shown["files"] == {}
    assert leftovers(daemon) == []
    # The name is free for a better attempt.
    body["source"]["sha256"] = SHA256
    again = start(body)
    assert again["id"] != image["id"] and finished(api, again)["state"] == "succeeded"


def test_hostile_downloads_fail(api, start, name, server, daemon):
    server.files["/empty"] = b""
    for path, codes in (("/cut/100/data.raw", None), ("/long/5/data.raw", ()), ("/lie/x/data.raw", ("source-unreachable",)),
                        ("/empty", ("image-refused",))):
        response = api.post("/v1/images", disk(name(), server.url(path)))
        if response.status != 201:
            assert response.code in ("image-refused", "source-unreachable"), response
            continue
        image = response.json
        operation = finished(api, image)
        if codes == ():
            assert operation["state"] == "succeeded"
        elif codes:
            assert operation["error"]["code"] in codes, operation
        api.delete(f"/v1/images/{image['id']}")
    assert leftovers(daemon) == []


def test_an_endless_download_ends_at_the_limit(fresh_daemon, server):
    daemon = fresh_daemon(settings={**SETTINGS, "image_max_mib": 64})
    api = daemon.client()
    server.files["/zeros"] = b"\0" * MIB
    body = disk("endless", server.url("/endless/x/zeros"))
    image = api.post("/v1/images", body).json
    operation = finished(api, image)
    assert operation["error"]["code"] == "body-too-large", operation
    assert leftovers(daemon) == []


def test_a_stalled_download_is_broken_off(fresh_daemon, server):
    daemon = fresh_daemon(settings={**SETTINGS, "fetch_stall_seconds": 2, "fetch_attempts": 2})
    api = daemon.client()
    image = api.post("/v1/images", disk("stalled", server.url("/hang/100000/data.raw"))).json
    operation = finished(api, image)
    assert operation["state"] == "failed" and operation["error"]["code"] == "source-unreachable", operation
    assert operation["error"]["detail"] == "the source is too slow"


def test_cancel_while_it_downloads(api, start, name, server, daemon):
    server.files["/slow.raw"] = DATA
    image = start(disk(name("cancel"), server.url("/hang/200000/slow.raw")))
    path = f"/v1/operations/{image['operation']['id']}"
    seen = eventually(lambda: (api.get(path).json["progress"] or {}).get("done_bytes"), what="progress")
    assert seen > 0 and api.get(path).json["progress"]["stage"] == "downloading"
    cancelled = api.delete(path)
    assert cancelled.status == 200 and cancelled.json["state"] == "cancelled", cancelled
    shown = api.get(f"/v1/images/{image['id']}").json
    assert shown["state"] == "failed" and shown["state_reason"] == "the import was cancelled"
    assert leftovers(daemon) == []
    assert api.delete(path).code == "operation-state-conflict"


def test_an_image_that_is_imported_takes_no_upload(api, start, name, server):
    image = start(disk(name(), server.url("/hang/200001/data.raw")))
    response = api.put(f"/v1/images/{image['id']}/content", DATA[:1000])
    assert response.code == "image-state-conflict", response
    api.delete(f"/v1/operations/{image['operation']['id']}")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_goes_on(fresh_daemon, server, how):
    daemon = fresh_daemon(settings=SETTINGS)
    api = daemon.client()
    path = f"/hang/{2 * MIB + (how == 'kill')}/data.raw"
    key = {"Idempotency-Key": "once"}
    body = disk("resumed", server.url(path))
    image = api.post("/v1/images", body, headers=key).json
    operation = f"/v1/operations/{image['operation']['id']}"
    eventually(lambda: ((api.get(operation).json["progress"] or {}).get("done_bytes") or 0) >= MIB, what="half of it")
    began = time.monotonic()
    daemon.stop() if how == "stop" else daemon.kill9()
    assert time.monotonic() - began < 20
    server.release.set()
    try:
        daemon.start()
        api = daemon.client()
        again = api.post("/v1/images", body, headers=key)
        assert again.status == 201 and again.json["id"] == image["id"]
        done = finished(api, image)
        assert done["state"] == "succeeded", done
    finally:
        server.release.clear()
    with server.lock:
        asked = [h.get("Range") for p, h in server.requests if p == path]
    assert any(r and r != "bytes=0-65535" for r in asked), asked
    assert api.get("/v1/images/resumed").json["files"]["content"]["sha256"] == SHA256
    assert len(api.get("/v1/images").json["items"]) == 1


def test_two_imports_of_the_same_bytes(api, start, name, server, daemon):
    data = b"\x33" + os.urandom(2 * MIB)
    source = server.add("/twice.raw", data)
    images = [start({"name": name(), "kind": "disk", "format": "raw", "source": source}) for _ in range(2)]
    for image in images:
        assert finished(api, image)["state"] == "succeeded"
    assert api.delete(f"/v1/images/{images[0]['id']}").status == 204
    assert (daemon.state_dir / "images" / source["sha256"]).read_bytes() == data


# ---- conversions ----

@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Paths of one small disk in every format, and its bytes."""
    folder = tmp_path_factory.mktemp("formats")
    raw = b"\x33\xc0" + os.urandom(1 << 20) + b"\0" * (7 << 20)
    raw = raw[:8 << 20].ljust(8 << 20, b"\0")
    (folder / "disk.raw").write_bytes(raw)
    for fmt in ("vmdk", "vdi", "vhdx", "qcow2"):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", fmt, folder / "disk.raw", folder / f"disk.{fmt}"],
                       check=True)
    return folder, raw


def content_of(daemon, api, image, tmp_path):
    ready = api.get(f"/v1/images/{image['id']}").json
    assert ready["state"] == "ready", ready
    out = tmp_path / "out.raw"
    subprocess.run(["qemu-img", "convert", "-f", ready["format"], "-O", "raw",
                    daemon.state_dir / "images" / ready["files"]["content"]["sha256"], out], check=True)
    return out.read_bytes()


@pytest.mark.parametrize("fmt", ["vmdk", "vdi", "vhdx", "raw"])
def test_other_formats_become_qcow2(api, start, name, server, daemon, converted, tmp_path, fmt):
    folder, raw = converted
    source = server.add(f"/disk.{fmt}", (folder / f"disk.{fmt}").read_bytes())
    image = start({"name": name(fmt), "kind": "disk", "format": "qcow2", "source": {**source, "format": fmt}})
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation
    assert operation["progress"]["done_bytes"] > 0
    assert content_of(daemon, api, image, tmp_path) == raw
    assert leftovers(daemon) == []


def test_qcow2_to_raw_and_xz(api, start, name, server, daemon, converted, tmp_path):
    folder, raw = converted
    packed = subprocess.run(["xz", "-c", folder / "disk.qcow2"], check=True, capture_output=True).stdout
    image = start({"name": name(), "kind": "disk", "format": "raw",
                   "source": {**server.add("/disk.qcow2.xz", packed), "compression": "xz", "format": "qcow2"}})
    operation = finished(api, image)
    assert operation["state"] == "succeeded", operation
    assert content_of(daemon, api, image, tmp_path) == raw


@pytest.mark.parametrize("fmt", ["vmdk", "vdi", "vhdx"])
def test_an_upload_of_another_format_is_converted(api, start, name, daemon, converted, tmp_path, fmt):
    folder, raw = converted
    image = start({"name": name(fmt), "kind": "disk", "format": "qcow2", "source": {"format": fmt}})
    assert image["state"] == "empty" and image["operation"] is None and image["source"] == {"format": fmt}
    answer = api.put(f"/v1/images/{image['id']}/content", (folder / f"disk.{fmt}").read_bytes())
    assert answer.status == 202 and answer.json["state"] == "importing", answer
    assert finished(api, answer.json)["state"] == "succeeded"
    assert content_of(daemon, api, image, tmp_path) == raw
    assert leftovers(daemon) == []
    again = api.put(f"/v1/images/{image['id']}/content", b"x" * 1000)
    assert again.code == "image-state-conflict", again


def test_what_a_killed_daemon_left_running_is_waited_for(api, start, name, daemon, converted, tmp_path):
    """Its qemu-img is killed with it, and may hold the file that is written a moment longer."""
    folder, raw = converted
    image = start({"name": name("held"), "kind": "disk", "format": "qcow2", "source": {"format": "vmdk"}})
    held = daemon.state_dir / "images" / "tmp" / f"converted-{image['id']}-content"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", held, "8M"], check=True)
    with subprocess.Popen(["qemu-io", "-f", "qcow2", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdin.write(b"length\n")
        other.stdin.flush()
        assert b"8 MiB" in other.stdout.readline()  # it has it open
        answer = api.put(f"/v1/images/{image['id']}/content", (folder / "disk.vmdk").read_bytes())
        assert answer.status == 202, answer
        path = f"/v1/operations/{answer.json['operation']['id']}"
        eventually(lambda: (api.get(path).json["progress"] or {}).get("stage") == "converting", 30, "it is being converted")
        until = time.monotonic() + 1  # long enough for a qemu-img that gives up
        while time.monotonic() < until:
            assert api.get(path).json["state"] == "running"
        other.stdin.close()
    assert finished(api, answer.json)["state"] == "succeeded"
    assert content_of(daemon, api, image, tmp_path) == raw


def child_of(daemon, word):
    """The daemon's child that has the word in its command line, if it is there."""
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                if word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return int(pid)
            except OSError:
                pass
    return None


def test_a_conversion_is_limited_and_cancelled_on_the_way(api, start, name, daemon, converted, tmp_path):
    image = start({"name": name("slow"), "kind": "disk", "format": "qcow2", "source": {"format": "vmdk"}})
    answer = api.put(f"/v1/images/{image['id']}/content", slow_vmdk(tmp_path / "slow.vmdk"))
    assert answer.status == 202, answer
    path = f"/v1/operations/{answer.json['operation']['id']}"
    seen = eventually(lambda: (p := api.get(path).json["progress"] or {}).get("stage") == "converting" and p["done_bytes"] and p,
                      30, "some of it being converted")
    assert seen["done_bytes"] < seen["total_bytes"] == 8 << 30, seen
    child = child_of(daemon, b"vmdk")
    command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    assert command[:2] == [b"/usr/bin/qemu-img", b"convert"] and command[command.index(b"-f") + 1] == b"vmdk", command
    limits = {line[:25].strip(): line[26:].split()[0] for line in Path(f"/proc/{child}/limits").read_text().splitlines()[1:]}
    assert int(limits["Max address space"]) == 2 << 30 and int(limits["Max open files"]) == 64, limits
    assert limits["Max cpu time"] != "unlimited" and limits["Max file size"] != "unlimited", limits
    cancelled = api.delete(path)
    assert cancelled.status == 200 and cancelled.json["state"] == "cancelled", cancelled
    assert child_of(daemon, b"vmdk") is None and leftovers(daemon) == []
    assert api.get(f"/v1/images/{image['id']}").json["state_reason"] == "the import was cancelled"
    again = api.put(f"/v1/images/{image['id']}/content", (converted[0] / "disk.vmdk").read_bytes())
    assert again.status == 202 and finished(api, again.json)["state"] == "succeeded"
    assert content_of(daemon, api, image, tmp_path) == converted[1]


def test_an_upload_is_unpacked_and_what_is_wrong_can_be_sent_again(api, start, name, daemon, converted, tmp_path):
    folder, raw = converted
    packed = lzma.compress((folder / "disk.vmdk").read_bytes())
    image = start({"name": name("xz"), "kind": "disk", "format": "raw", "source": {"format": "vmdk", "compression": "xz"}})
    content = f"/v1/images/{image['id']}/content"
    cut = api.put(content, packed[:-100])
    assert cut.status == 202 and finished(api, cut.json)["error"]["code"] == "image-refused"
    assert api.get(f"/v1/images/{image['id']}").json["state"] == "failed"
    wrong = start({"name": name("wrong"), "kind": "disk", "format": "qcow2", "source": {"format": "vdi"}})
    refused = api.put(f"/v1/images/{wrong['id']}/content", raw[:100000])
    assert refused.status == 422 and refused.code == "image-refused", refused
    answer = api.put(content, packed)
    assert answer.status == 202 and finished(api, answer.json)["state"] == "succeeded"
    assert content_of(daemon, api, image, tmp_path) == raw and leftovers(daemon) == []


def test_the_command_uploads_what_is_to_be_converted(daemon, api, name, converted, tmp_path):
    folder, raw = converted
    of = name("cli")
    words = [BUILD / "drover", "--url", daemon.url, "image", "create", of, "--from", "vdi", "--file", folder / "disk.vdi"]
    done = subprocess.run(words, env={**os.environ, "DROVER_TOKEN": daemon.admin_token()}, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0 and done.stdout == f"{of} ready\n", done
    assert content_of(daemon, api, api.get(f"/v1/images/{of}").json, tmp_path) == raw
    api.delete(f"/v1/images/{of}")


def test_what_cannot_be_unpacked(api, start, name, server, converted):
    packed = subprocess.run(["xz", "-c"], input=os.urandom(100000), check=True, capture_output=True).stdout
    for path, data in (("/cut.xz", packed[:-100]), ("/no.xz", b"\x33" * 1000), ("/bent.xz", packed[:500] + bytes([packed[500] ^ 1]) + packed[501:])):
        image = start({"name": name(), "kind": "disk", "format": "raw",
                       "source": {**server.add(path, data), "compression": "xz"}})
        operation = finished(api, image)
        assert operation["state"] == "failed" and operation["error"]["code"] == "image-refused", operation


def test_hostile_vmdk_files(api, start, name, server, converted):
    folder, _ = converted
    good = (folder / "disk.vmdk").read_bytes()
    descriptor = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n"
    cases = {
        "descriptor": descriptor.ljust(1024, b"\n"),
        "nocapacity": good[:12] + b"\0" * 8 + good[20:],
        "flat": good.replace(b'createType="monolithicSparse"', b'createType="monolithicFlat"\n '),
        "parent": good.replace(b'createType="monolithicSparse"', b'createType="monolithicSparse"\nparentFileNameHint="/etc/shadow"')[:len(good)],
        "parentcid": good.replace(b"parentCID=ffffffff", b"parentCID=12345678"),
        "grain": good[:20] + b"\3" + good[21:],
        "version": good[:4] + b"\x09" + good[5:],
    }
    for case, data in cases.items():
        assert data != good, case
        response = api.post("/v1/images", {"name": name(), "kind": "disk", "format": "qcow2", "source":
                                           {**server.add(f"/{case}.vmdk", data), "format": "vmdk"}})
        assert response.code == "image-refused", (case, response)


# ---- the command ----

def drover(daemon, *args, status=0):
    from daemon import BUILD
    done = subprocess.run([BUILD / "drover", "--url", daemon.url, *args], capture_output=True, text=True,
                          env={**os.environ, "DROVER_TOKEN": daemon.admin_token()}, timeout=120)
    assert done.returncode == status, (args, done)
    return done


def test_the_command_imports(daemon, api, name, server):
    image, url = name("cli"), server.url("/data.raw")
    checks = drover(daemon, "image", "import", image, url, "--sha256", SHA256, "--format", "raw", "--dry-run")
    assert "reachable" in checks.stdout and api.get(f"/v1/images/{image}").status == 404
    assert drover(daemon, "image", "import", image, url, "--sha256", SHA256, "--format", "raw").stdout == f"{image} ready\n"
    drover(daemon, "image", "import", image, url, status=2)
    bad = drover(daemon, "image", "import", image + "x", url, "--sha256", "0" * 64, "--format", "raw", status=1)
    assert "does not match its digest" in bad.stderr
    for made in (image, image + "x"):
        drover(daemon, "image", "delete", made)
