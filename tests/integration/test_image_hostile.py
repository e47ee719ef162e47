"""Hostile images: each differs from a good one in one thing, and each is refused with a reason."""
import os
import struct
import subprocess

import pytest

CLUSTER = 65536


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good qcow2 file of QEMU's own with a little in it."""
    path = tmp_path_factory.mktemp("good") / "good.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 256k", path], check=True, stdout=subprocess.DEVNULL)
    return path.read_bytes()


def patched(data, at, fmt, value):
    raw = struct.pack(fmt, value)
    return data[:at] + raw + data[at + len(raw):]


def hostile_qcow2(good):
    """(name, bytes), each to be refused as qcow2."""
    for length in (1, 4, 8, 24, 32, 71, 72, 103, 104, 511, 512, 4096, CLUSTER - 1, CLUSTER, 2 * CLUSTER, 3 * CLUSTER):
        yield f"cut at {length}", good[:length]
    for version in (0, 1, 4, 5, 0x7fffffff, 0xffffffff):
        yield f"version {version}", patched(good, 4, ">I", version)
    for bits in (0, 1, 8, 22, 31, 32, 63, 64, 0xffffffff):
        yield f"cluster bits {bits}", patched(good, 20, ">I", bits)
    for size in (0, (1 << 46) + 512, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 40):
        yield f"size {size}", patched(good, 24, ">Q", size)
    for method in (1, 2, 3, 0xffffffff):
        yield f"encryption {method}", patched(good, 32, ">I", method)
    for entries in (0, 0x7fffffff, 0xffffffff, 1 << 23):
        yield f"first-level entries {entries}", patched(good, 36, ">I", entries)
    for what, at in (("first-level", 40), ("reference count", 48)):
        for offset in (0, 1, 512, CLUSTER - 1, CLUSTER + 1, 1 << 40, 1 << 62, (1 << 64) - CLUSTER, (1 << 64) - 1, len(good)):
            yield f"{what} table at {offset}", patched(good, at, ">Q", offset)
    for clusters in (0, 129, 0xffff, 0x7fffffff, 0xffffffff):
        yield f"reference count clusters {clusters}", patched(good, 56, ">I", clusters)
    for snapshots in (65537, 0xffffffff, 1):
        data = patched(good, 60, ">I", snapshots)
        yield f"snapshots {snapshots}", patched(data, 64, ">Q", 1 << 40)
    for bit in (0, 1, 2, *range(5, 64)):
        yield f"incompatible bit {bit}", patched(good, 72, ">Q", 1 << bit)
    for order in (7, 8, 31, 0xffffffff):
        yield f"reference count order {order}", patched(good, 96, ">I", order)
    for length in (0, 8, 72, 103, 105, CLUSTER + 8, 0xfffffff8, 0xffffffff):
        yield f"header length {length}", patched(good, 100, ">I", length)
    for path in (b"/etc/shadow", b"nbd://127.0.0.1/x", b'json:{"driver":"file","filename":"/etc/shadow"}', b"x" * 1023):
        data = patched(patched(good, 8, ">Q", 2048), 16, ">I", len(path))
        yield f"backing {path[:20]}", data[:2048] + path + data[2048 + len(path):]
    yield "backing size alone", patched(good, 16, ">I", 5)
    yield "backing offset alone", patched(good, 8, ">Q", 4096)
    header = struct.unpack(">I", good[100:104])[0]
    for kind, what in ((0x44415441, "external data file"), (0x0537be77, "encryption header")):
        extension = struct.pack(">II", kind, 16) + b"/etc/shadow\0\0\0\0\0"
        yield f"extension: {what}", good[:header] + extension + good[header + len(extension):]
    for length in (CLUSTER, 0x7fffffff, 0xffffffff):
        yield f"extension of {length}", patched(patched(good, header, ">I", 0x12345678), header + 4, ">I", length)
    endless = b"".join(struct.pack(">II", 0x12345678, 0) for _ in range(100))
    yield "too many extensions", good[:header] + endless + good[header + len(endless):]
    for magic in (b"QFI\0", b"QED\0", b"\0\0\0\0", b"KDMV", b"LUKS", b"qfi\xfb"):
        yield f"magic {magic}", magic + good[4:]
    first = struct.unpack(">Q", good[40:48])[0]
    for entry in (0xffffffffffffffff, 1 << 55, 0x8000000000000000 | 1 << 50, 0x8000000000000001):
        yield f"first-level entry {entry:x}", patched(good, first, ">Q", entry)


def hostile_raw():
    for magic in (b"QFI\xfb", b"QED\0", b"KDMV", b"COWD", b"# Disk DescriptorFile", b"vhdxfile", b"conectix", b"WithoutFreeSpace",
                  b"WithouFreSpacExt", b"Bochs Virtual HD Image", b"LUKS\xba\xbe", b"#!/bin/sh\n#V2.0 Format\nmodpr",
                  b"\xfd7zXZ\0", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh91AY&SY", b"PK\3\4", b"7z\xbc\xaf\x27\x1c"):
        yield f"raw that begins with {magic[:8]}", magic + os.urandom(1000)
    yield "raw that is a VDI file", os.urandom(64) + b"\x7f\x10\xda\xbe" + os.urandom(500)
    yield "nothing", b""


def test_a_hundred_and_fifty_hostile_images(api, name, good):
    """One image takes them all: what is refused leaves it as it was, but for the reason."""
    count = 0
    for fmt, cases in (("qcow2", hostile_qcow2(good)), ("raw", hostile_raw())):
        image = api.post("/v1/images", {"name": name(fmt), "kind": "disk", "format": fmt}).json
        for case, data in cases:
            response = api.put(f"/v1/images/{image['id']}/content", data)
            assert response.status == 422 and response.code == "image-refused", (case, response)
            count += 1
        assert api.get(f"/v1/images/{image['id']}").json["files"] == {}
        # and it can still be filled
        response = api.put(f"/v1/images/{image['id']}/content", good if fmt == "qcow2" else b"\x33" * 1024)
        assert response.status == 200, response
        api.delete(f"/v1/images/{image['id']}")
    assert count >= 150, count


def test_a_guest_that_writes_a_header_into_its_raw_disk_gains_nothing(api, daemon, name, good, tmp_path):
    """The overlay says what its base is, so that bytes of a raw disk are never taken for a format."""
    image = api.post("/v1/images", {"name": name("raw"), "kind": "disk", "format": "raw"}).json
    api.put(f"/v1/images/{image['id']}/content", b"\x33" * 65536)
    vm = api.post("/v1/vms", {"name": name(), "image": image["name"]}).json
    assert api.get(f"/v1/operations/{vm['operation']['id']}", wait=30).json["state"] == "succeeded"
    disk = daemon.state_dir / "vms" / vm["id"] / "root.qcow2"
    (tmp_path / "header").write_bytes(good[:512])
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -s {tmp_path / 'header'} 0 512", disk], check=True,
                   stdout=subprocess.DEVNULL)
    made = api.post("/v1/images", {"name": name("pub"), "kind": "disk", "format": "raw", "source": {"vm": vm["name"]}}).json
    operation = api.get(f"/v1/operations/{made['operation']['id']}", wait=60, patience=90).json
    # Published as raw it would be a raw image that looks like qcow2: refused, not guessed.
    assert operation["state"] == "failed" and operation["error"]["code"] == "image-refused", operation
    info = subprocess.run(["qemu-img", "info", "-f", "qcow2", disk], check=True, capture_output=True, text=True).stdout
    assert "backing file format: raw" in info
    api.delete(f"/v1/images/{made['id']}")
    api.delete(f"/v1/vms/{vm['id']}", force=True, wait=30)
    api.delete(f"/v1/images/{image['id']}")


# ---- a name that changes its mind ----

PUBLIC = "93.184.216.34"  # in a network of the daemon's own, on its loopback device
REBINDER = """
import http.server, sys
hosts, data = sys.argv[1], b"\\x33" * 300000
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:8000/data")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        looks = (self.headers.get("Range") or "").startswith("bytes=0-")
        self.send_response(206 if looks else 200)
        self.send_header("ETag", '"1"')
        if looks:
            self.send_header("Content-Range", "bytes 0-65535/300000")
        self.send_header("Content-Length", "65536" if looks else "300000")
        self.end_headers()
        self.wfile.write(data[:65536])
        if not looks: # the name leads elsewhere from now on, and the connection breaks
            open(hosts, "w").write("127.0.0.1 images.example\\n")
            self.close_connection = True
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), H).serve_forever()
"""


@pytest.fixture
def apart(tmp_path):
    """A daemon in a network and with names of its own, and a server beside it; the file of names."""
    from conftest import CONTRACT
    from daemon import Daemon
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{PUBLIC} images.example\n")
    script = f'ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind {hosts} /etc/hosts && exec "$@"'
    daemon = Daemon(check=CONTRACT.check, ready=False, settings={"fetch_attempts": 3},
                    wrapper=["unshare", "-m", "-n", "sh", "-c", script, "sh"])
    daemon.start()
    server = subprocess.Popen(["nsenter", "-t", str(daemon.pid), "-n", "python3", "-c", REBINDER, str(hosts)])
    try:
        yield daemon.socket_client(), hosts
    finally:
        server.kill()
        server.wait()
        daemon.close()


def test_a_name_that_changes_its_mind_leads_nowhere(apart):
    from daemon import eventually
    api, hosts = apart

    def body(path, image="rebound"):
        return {"name": image, "kind": "disk", "format": "raw",
                "source": {"url": f"http://images.example:8000{path}", "sha256": "0" * 64}}

    def checks(path):
        found = api.post("/v1/images", body(path), dry_run=True).json["checks"]
        return {c["name"]: c["problem"] and c["problem"]["code"] for c in found}

    # Public: it is fetched from.
    eventually(lambda: checks("/data").get("header", "missing") is None, what="the server answering")
    # A redirect from there to the inside is not followed.
    assert checks("/redirect")["reachable"] == "source-refused"
    # Between the check and the download, and between two tries, the name may change.
    image = api.post("/v1/images", body("/data"))
    assert image.status == 201, image
    operation = api.get(f"/v1/operations/{image.json['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] == "failed" and operation["error"]["code"] == "source-refused", operation
    assert "127.0.0.1" in operation["error"]["detail"]
    assert "127.0.0.1" in hosts.read_text()
    assert api.post("/v1/images", body("/data", "again")).code == "source-refused"
