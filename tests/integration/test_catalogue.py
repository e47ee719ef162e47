"""The catalogue: signed indexes, entries, VMs with one call."""
import hashlib
import json
import os
import subprocess

import pytest
from daemon import BUILD, eventually
from image_server import ImageServer

RAW = b"\x33\xc0" + os.urandom(100000)
SETTINGS = {"fetch_private": 1, "free_space_floor_mib": 0}


@pytest.fixture(scope="module")
def server():
    with ImageServer() as s:
        yield s


@pytest.fixture(scope="module")
def daemon():
    from conftest import CONTRACT
    from daemon import Daemon
    with Daemon(check=CONTRACT.check, settings=SETTINGS) as d:
        yield d


def drover(*args, status=0, daemon=None):
    env = {**os.environ, **({"DROVER_TOKEN": daemon.admin_token()} if daemon else {})}
    url = ["--url", daemon.url] if daemon else []
    done = subprocess.run([BUILD / "drover", *url, *map(str, args)], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == status, (args, done)
    return done.stdout


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.fixture(scope="module")
def book(server, tmp_path_factory):
    """A folder that `drover catalogue build` signed, served; its public key."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "disk.raw").write_bytes(RAW)
    (folder / "a.png").write_bytes(PNG)
    (folder / "catalogue.json").write_text(json.dumps({"entries": [
        {"name": "tiny", "title": "A tiny disk", "kind": "disk", "format": "raw", "revision": 3, "screenshot": "a.png",
         "files": {"content": {"path": "disk.raw"}}, "vm": {"memory_mib": 64, "vsock": False}, "expected_console": "hello"}]}))
    key = folder / "key"
    public = drover("catalogue", "key", key).strip()
    assert (folder / "key.pub").read_text().strip() == public and key.stat().st_mode & 0o777 == 0o600
    drover("catalogue", "key", key, status=5)
    assert "1 entries" in drover("catalogue", "build", folder, "--key", key)
    for file in ("index.json", "index.json.sig", "disk.raw"):
        server.files[f"/book/{file}"] = (folder / file).read_bytes()
    return folder, public


def test_an_entry_runs_with_one_call(api, daemon, server, book, name):
    body = {"name": "ours", "url": server.url("/book/index.json"), "key": book[1]}
    added = api.post("/v1/catalogue-sources", body)
    assert added.status == 201 and added.json["entries"] == 1, added
    assert [s["name"] for s in api.get("/v1/catalogue-sources").json["items"]] == ["ours"]
    entry = api.get("/v1/catalogue").json["items"][0]
    assert entry["source"] == {"url": server.url("/book/disk.raw"), "sha256": hashlib.sha256(RAW).hexdigest()}
    assert entry["has_screenshot"] and entry == api.get("/v1/catalogue/ours:tiny").json
    assert api.get("/v1/catalogue/tiny/screenshot").body == PNG
    key, vm_name = {"Idempotency-Key": "run-1"}, name("cat")
    made = api.post("/v1/catalogue/tiny/run", {"name": vm_name, "vm": {"cpus": 2}}, headers=key)
    assert made.status == 201 and made.json["state"] == "starting", made
    assert made.json["memory_mib"] == 64 and made.json["cpus"] == 2 and made.json["image"] == "tiny-r3"
    again = api.post("/v1/catalogue/tiny/run", {"name": vm_name, "vm": {"cpus": 2}}, headers=key)
    assert again.json["id"] == made.json["id"]
    operation = api.get(f"/v1/operations/{made.json['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] == "succeeded", operation
    assert api.get(f"/v1/images/tiny-r3").json["state"] == "ready"
    second = api.post("/v1/catalogue/tiny/run", {"name": vm_name + "b"})
    assert second.status == 201 and server.count("/book/disk.raw") == 1
    for vm in (vm_name, vm_name + "b"):
        api.get(f"/v1/operations/{second.json['operation']['id']}", wait=30)
        gone = api.delete(f"/v1/vms/{vm}", force=True, wait=30)
        assert gone.status == 200 and gone.json["state"] == "succeeded", gone
    gone = api.delete("/v1/images/tiny-r3")
    assert gone.status == 204, gone
    assert "tiny" in drover("catalogue", "list", daemon=daemon)
    assert api.post("/v1/catalogue-sources/ours/refresh").json["entries"] == 1
    assert api.delete("/v1/catalogue-sources/ours").status == 204
    assert api.get("/v1/catalogue").json["items"] == []


def publish(server, folder, key, path, data, **entry):
    """An index of one entry and its one disk at /path/, signed."""
    (folder / "disk.raw").write_bytes(data)
    (folder / "catalogue.json").write_text(json.dumps({"entries": [
        {"name": "same", "kind": "disk", "format": "raw", "files": {"content": {"path": "disk.raw"}},
         "vm": {"memory_mib": 64, "vsock": False}, **entry}]}))
    drover("catalogue", "build", folder, "--key", key)
    for file in ("index.json", "index.json.sig", "disk.raw"):
        server.files[f"/{path}/{file}"] = (folder / file).read_bytes()


def ran(api, entry, name):
    """The bytes that its VM stands on, and what they are called."""
    made = api.post(f"/v1/catalogue/{entry}/run", {"name": name})
    assert made.status == 201, made
    done = api.get(f"/v1/operations/{made.json['operation']['id']}", wait=60, patience=90).json
    assert done["state"] == "succeeded", done
    image = api.get(f"/v1/images/{made.json['image']}").json
    return image["files"]["content"]["sha256"], image["name"]


def test_an_entry_is_the_bytes_it_says_whatever_has_its_name(api, server, name, tmp_path):
    """Another catalogue's entry, a revision that was made twice, an image of somebody's: all called the same."""
    key = tmp_path / "key"
    public = drover("catalogue", "key", key).strip()
    data = {of: b"\x33\xc0" + os.urandom(70000) for of in ("first", "second", "third", "fourth")}
    sha = {of: hashlib.sha256(bytes_).hexdigest() for of, bytes_ in data.items()}
    for source in ("one", "two"):
        publish(server, tmp_path, key, source, data["first" if source == "one" else "second"], revision=5)
        added = api.post("/v1/catalogue-sources", {"name": source, "url": server.url(f"/{source}/index.json"), "key": public})
        assert added.status == 201, added
    vms = [name("run") for _ in range(6)]
    found = [ran(api, entry, vm) for entry, vm in zip(("one:same", "two:same", "one:same", "two:same"), vms)]
    assert [f[0] for f in found] == [sha["first"], sha["second"]] * 2 and found[:2] == found[2:]
    assert found[0][1] == "same-r5" and found[1][1].startswith("same-r5-"), found
    # Made anew under its old number, and then under a new one: who runs stays, who comes has the new one.
    publish(server, tmp_path, key, "one", data["third"], revision=5)
    assert api.post("/v1/catalogue-sources/one/refresh").status == 200
    found.append(ran(api, "one:same", vms[4]))
    publish(server, tmp_path, key, "one", data["fourth"], revision=6)
    assert api.post("/v1/catalogue-sources/one/refresh").status == 200
    assert api.get("/v1/catalogue/same").json["revision"] == 6, "without a source: the newest"
    found.append(ran(api, "same", vms[5]))
    assert [f[0] for f in found[4:]] == [sha["third"], sha["fourth"]] and found[5][1] == "same-r6"
    assert api.get(f"/v1/vms/{vms[0]}").json["image"] == "same-r5"
    for vm in vms:
        assert api.delete(f"/v1/vms/{vm}", force=True, wait=30).json["state"] == "succeeded"
    for image in {f[1] for f in found}:
        assert api.delete(f"/v1/images/{image}").status == 204
    for source in ("one", "two"):
        assert api.delete(f"/v1/catalogue-sources/{source}").status == 204


def test_a_vm_whose_image_does_not_come_says_why(api, server, book, name):
    server.files["/gone/index.json"] = server.files["/book/index.json"]
    server.files["/gone/index.json.sig"] = server.files["/book/index.json.sig"]
    server.files["/gone/disk.raw"] = RAW[:-1] + bytes([RAW[-1] ^ 1])
    assert api.post("/v1/catalogue-sources", {"name": "gone", "url": server.url("/gone/index.json"), "key": book[1]}).status == 201
    made = api.post("/v1/catalogue/gone:tiny/run", {"name": name("lost")}).json
    operation = api.get(f"/v1/operations/{made['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] == "failed" and operation["error"]["pointer"] == "/image", operation
    assert eventually(lambda: api.get(f"/v1/vms/{made['id']}").json["state"] == "failed")
    api.delete(f"/v1/vms/{made['id']}", force=True, wait=30)
    api.delete("/v1/images/tiny-r3")
    api.delete("/v1/catalogue-sources/gone")


def test_what_is_not_signed_is_refused(api, server, book):
    index, signature = server.files["/book/index.json"], server.files["/book/index.json.sig"]
    other = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    server.files.update({"/bent/index.json": index.replace(b"tiny", b"evil"), "/bent/index.json.sig": signature,
                         "/short/index.json": index, "/short/index.json.sig": signature[:40], "/none/index.json": index})
    for path, key, code in (("/bent/index.json", book[1], "catalogue-refused"), ("/short/index.json", book[1], "catalogue-refused"),
                            ("/none/index.json", book[1], "source-unreachable"), ("/book/index.json", other, "catalogue-refused"),
                            ("/book/index.json", "short", "validation-failed"), ("/missing", book[1], "source-unreachable")):
        response = api.post("/v1/catalogue-sources", {"name": "bad", "url": server.url(path), "key": key})
        assert response.code == code, (path, response)
    assert api.post("/v1/catalogue-sources", {"name": "bad", "url": "file:///etc/passwd", "key": other}).json["pointer"] == "/url"
    assert api.get("/v1/catalogue-sources").json["items"] == []
    for path in ("/v1/catalogue/nothing", "/v1/catalogue/nothing/screenshot"):
        assert api.get(path).code == "catalogue-not-found"
    assert api.post("/v1/catalogue/nothing/run", {}).code == "catalogue-not-found"
    assert api.delete("/v1/catalogue-sources/nothing").code == "catalogue-not-found"
    assert api.post("/v1/catalogue-sources/nothing/refresh").code == "catalogue-not-found"


def test_hostile_indexes(api, server, tmp_path):
    key = tmp_path / "key"
    public = drover("catalogue", "key", key).strip()
    good = {"name": "a", "kind": "disk", "format": "raw", "files": {"content": {"path": "disk.raw"}}}
    (tmp_path / "disk.raw").write_bytes(RAW)
    cases = [{"kind": "tape"}, {"name": "A B"}, {"name": "../x"}, {"format": "vmdk"}, {"vm": {"networks": []}}, {"vm": []},
             {"vm": {"user_data": "x"}}, {"revision": -1}, {"title": 5}, {"expected_console": "x" * 600}, {"from": "qed"}]
    for i, change in enumerate(cases):
        (tmp_path / "catalogue.json").write_text(json.dumps({"entries": [{**good, **change}]}))
        drover("catalogue", "build", tmp_path, "--key", key)
        for file in ("index.json", "index.json.sig"):
            server.files[f"/h{i}/{file}"] = (tmp_path / file).read_bytes()
        response = api.post("/v1/catalogue-sources", {"name": "h", "url": server.url(f"/h{i}/index.json"), "key": public})
        assert response.code == "catalogue-refused", (change, response)
    # files that are not below the index
    for path in ("/etc/passwd", "../disk.raw", "a/../../disk.raw", "http://elsewhere/disk.raw", "//elsewhere/disk.raw", "a b"):
        (tmp_path / "catalogue.json").write_text(json.dumps({"entries": [good]}))
        drover("catalogue", "build", tmp_path, "--key", key)
        text = (tmp_path / "index.json").read_text().replace('"disk.raw"', json.dumps(path))
        (tmp_path / "x").mkdir(exist_ok=True)
        server.files["/path/index.json"] = text.encode()
        # signed by its owner, all the same
        server.files["/path/index.json.sig"] = sign(tmp_path, key, text)
        response = api.post("/v1/catalogue-sources", {"name": "h", "url": server.url("/path/index.json"), "key": public})
        assert response.code == "catalogue-refused" and "below its index" in response.json["detail"], (path, response)


def sign(folder, key, text):
    """A signature over any text, with libsodium."""
    import base64
    import ctypes
    sodium = ctypes.CDLL("libsodium.so.23")
    signature = ctypes.create_string_buffer(64)
    secret = base64.b64decode(key.read_text())
    data = text.encode()
    sodium.crypto_sign_detached(signature, None, data, ctypes.c_ulonglong(len(data)), secret)
    return base64.b64encode(signature.raw)


def test_a_virt_builder_index(api, server, tmp_path):
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet"]
    made = subprocess.run([*gpg, "--passphrase", "", "--quick-gen-key", "test@example.org", "ed25519", "sign", "never"],
                          capture_output=True)
    assert made.returncode == 0, made
    packed = subprocess.run(["xz", "-c"], input=RAW, check=True, capture_output=True).stdout
    (tmp_path / "index").write_text(f"""[debian-12.1]
name=Debian 12
arch=x86_64
file=debian.raw.xz
checksum[sha512]={hashlib.sha512(packed).hexdigest()}
format=raw
size={len(RAW)}
compressed_size={len(packed)}
revision=7
notes=First line
 and the second

[other-arch]
arch=aarch64
file=x.xz
checksum[sha512]={"0" * 128}
""")
    subprocess.run([*gpg, "--clearsign", "-o", tmp_path / "index.asc", tmp_path / "index"], check=True)
    key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    signed = (tmp_path / "index.asc").read_bytes()
    server.files.update({"/vb/index.asc": signed, "/vb/debian.raw.xz": packed, "/vbad/index.asc": signed.replace(b"=7", b"=8")})
    body = {"name": "builder", "kind": "virt-builder", "url": server.url("/vb/index.asc"), "key": key}
    added = api.post("/v1/catalogue-sources", body)
    assert added.status == 201 and added.json["entries"] == 1, added
    entry = api.get("/v1/catalogue/debian-12-1").json
    assert entry["revision"] == 7 and entry["notes"] == "First line\nand the second" and entry["source"]["compression"] == "xz"
    vm = api.post("/v1/catalogue/debian-12-1/run", {"name": "from-builder"}).json
    operation = api.get(f"/v1/operations/{vm['operation']['id']}", wait=60, patience=90).json
    assert operation["state"] == "succeeded", operation
    api.delete("/v1/vms/from-builder", force=True, wait=30)
    api.delete(f"/v1/images/{vm['image']}")
    bad = api.post("/v1/catalogue-sources", {**body, "url": server.url("/vbad/index.asc")})
    assert bad.code == "catalogue-refused", bad
    assert api.post("/v1/catalogue-sources", {**body, "key": "no key"}).json["pointer"] == "/key"

    def sign(text):
        (tmp_path / "index").write_bytes(text)
        subprocess.run([*gpg, "--yes", "--clearsign", "-o", tmp_path / "index.asc", tmp_path / "index"], check=True)
        server.files["/vb/index.asc"] = (tmp_path / "index.asc").read_bytes()

    # A newer revision; what is hidden, of another make or without a hash is for other readers.
    good = f"arch=x86_64\nfile=debian.raw.xz\nchecksum[sha512]={hashlib.sha512(packed).hexdigest()}\nformat=raw\nsize=1\n"
    sign(f"[debian-12.1]\n{good}revision=8\n[secret]\n{good}hidden=true\n[arm]\n{good.replace('x86_64', 'armv7l')}"
         f"[bare]\nfile=x.raw\n[Fedora Core]\n{good}notes[de]=nicht\n".encode())
    assert api.post("/v1/catalogue-sources/builder/refresh").json["entries"] == 2
    assert api.get("/v1/catalogue/debian-12-1").json["revision"] == 8
    assert api.get("/v1/catalogue/fedora-core").status == 200
    # One that leads elsewhere is refused as a whole, and what was known stays.
    for file in ("/etc/passwd", "../x.raw", "http://elsewhere/x.raw", "//elsewhere/x.raw", "a b", "file:///x", "x?y", "x%2e%2e"):
        sign(f"[debian-12.1]\n{good.replace('debian.raw.xz', file)}revision=9\n".encode())
        refused = api.post("/v1/catalogue-sources/builder/refresh")
        assert refused.code == "catalogue-refused" and "below its index" in refused.json["detail"], (file, refused)
    for text in (b"[debian-12.1\nfile=x\n", b"[a]\n" + good.encode() + b"name=\xff\n", b"[a]\n" + good.encode().replace(b"[sha512]=", b"[sha512]=zz")):
        sign(text)
        assert api.post("/v1/catalogue-sources/builder/refresh").code == "catalogue-refused", text
    assert api.get("/v1/catalogue/debian-12-1").json["revision"] == 8
    # Whoever signs without being asked for is nobody.
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    theirs = [*gpg[:1], "--homedir", other, *gpg[3:]]
    subprocess.run([*theirs, "--passphrase", "", "--quick-gen-key", "other@example.org", "ed25519", "sign", "never"], check=True,
                   capture_output=True)
    subprocess.run([*theirs, "--yes", "--clearsign", "-o", tmp_path / "index.asc", tmp_path / "index"], check=True)
    server.files["/vb/index.asc"] = (tmp_path / "index.asc").read_bytes()
    assert api.post("/v1/catalogue-sources/builder/refresh").code == "catalogue-refused"
    for each in (home, other):
        subprocess.run(["gpgconf", "--homedir", each, "--kill", "all"], check=False)
    api.delete("/v1/catalogue-sources/builder")
