"""Images: made, filled, used, deleted."""
import base64
import hashlib
import os
import struct

import pytest

RAW = b"\0" * 510 + b"\x55\xaa"  # a boot sector


def digest(data):
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


@pytest.fixture
def make_image(api, name):
    made = []

    def make(**body):
        body.setdefault("name", name("image"))
        response = api.post("/v1/images", body)
        assert response.status == 201, response
        made.append(response.json["id"])
        return response.json

    yield make
    for image in made:
        api.delete(f"/v1/images/{image}")


def test_a_disk_from_empty_to_ready(api, make_image):
    image = make_image(kind="disk", format="raw", description="one sector")
    path = f"/v1/images/{image['id']}"
    assert image["state"] == "empty" and image["files"] == {} and image["used_by"] == 0
    response = api.put(f"{path}/content", RAW, headers=digest(RAW))
    assert response.status == 200, response
    ready = response.json
    assert ready["state"] == "ready"
    assert ready["files"]["content"]["sha256"] == hashlib.sha256(RAW).hexdigest()
    assert ready["files"]["content"]["size_bytes"] == len(RAW)
    assert api.get(path).json == ready == api.get(f"/v1/images/{image['name']}").json


def test_a_kernel_with_its_initrd(api, make_image):
    image = make_image(kind="kernel", cmdline="console=ttyS0")
    assert image["format"] is None and image["cmdline"] == "console=ttyS0"
    kernel = b"MZ" + b"\0" * 508 + b"\x55\xaaHdrS" + os.urandom(4096)
    kernel = kernel[:0x1fe] + b"\x55\xaa" + kernel[0x200:0x202] + b"HdrS" + kernel[0x206:]
    first = api.put(f"/v1/images/{image['id']}/content/kernel", kernel)
    second = api.put(f"/v1/images/{image['id']}/content/initrd", b"\x1f\x8b\x08\0" + os.urandom(512))
    for response in (first, second):
        assert response.status == 200 or response.code == "image-refused", response
    if first.status == 200:
        assert first.json["files"]["kernel"]["size_bytes"] == len(kernel)


def test_what_is_wrong_with_a_request(api, name):
    for body, pointer in (({"kind": "disk", "format": "raw"}, "/name"), ({"name": "a"}, "/kind"),
                          ({"name": "a", "kind": "tape"}, "/kind"), ({"name": "a", "kind": "disk"}, "/format"),
                          ({"name": "a", "kind": "disk", "format": "vmdk"}, "/format"),
                          ({"name": "a", "kind": "kernel", "format": "raw"}, "/format"),
                          ({"name": "a", "kind": "disk", "format": "raw", "cmdline": "x"}, "/cmdline"),
                          ({"name": "A", "kind": "iso"}, "/name"), ({"name": "a", "kind": "iso", "url": "x"}, "/url")):
        response = api.post("/v1/images", body)
        assert response.status == 422 and response.json["pointer"] == pointer, (body, response)


def test_names_are_taken_once(api, make_image):
    image = make_image(kind="disk", format="raw")
    assert api.post("/v1/images", {"name": image["name"], "kind": "iso"}).code == "name-in-use"


def test_a_wrong_digest_leaves_nothing_behind(api, make_image):
    image = make_image(kind="disk", format="raw")
    path = f"/v1/images/{image['id']}"
    response = api.put(f"{path}/content", RAW, headers=digest(b"something else"))
    assert response.status == 422 and response.code == "digest-mismatch"
    assert api.get(path).json["files"] == {}
    assert api.put(f"{path}/content", RAW, headers=digest(RAW)).status == 200


def test_bad_digests_are_refused_before_the_bytes(api, make_image):
    image = make_image(kind="disk", format="raw")
    for bad in ("sha-256=:short:", "sha-256=:" + "!" * 44 + ":", "sha-256=:" + "A" * 43 + ":"):
        response = api.put(f"/v1/images/{image['id']}/content", RAW, headers={"Content-Digest": bad})
        assert response.json["pointer"] == "Content-Digest", bad


def test_a_digest_of_another_kind_is_passed_over(api, make_image):
    image = make_image(kind="disk", format="raw")
    assert api.put(f"/v1/images/{image['id']}/content", RAW, headers={"Content-Digest": "md5=:AAAA:"}).status == 200


def qcow2(backing=b"", incompatible=0):
    name_at = 512 if backing else 0
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, name_at, len(backing), 16, 1 << 20, 0, 1, 196608, 65536,
                         1, 0, 0, incompatible, 0, 0, 4, 104)
    return (header + b"\0" * (512 - len(header)) + backing).ljust(262144, b"\0")


def test_hostile_images_are_refused(api, make_image):
    cases = [("qcow2", qcow2(backing=b"/etc/shadow")), ("qcow2", qcow2(incompatible=4)), ("qcow2", qcow2(incompatible=1 << 40)),
             ("qcow2", RAW), ("qcow2", b""), ("raw", qcow2()), ("raw", b"QFI\xfb")]
    for kind, data in cases:
        image = make_image(kind="disk", format=kind)
        response = api.put(f"/v1/images/{image['id']}/content", data)
        assert response.status in (400, 422), (kind, data[:8], response)
        assert api.get(f"/v1/images/{image['id']}").json["files"] == {}


def test_parts_that_a_kind_does_not_have(api, make_image):
    disk, kernel = make_image(kind="disk", format="raw"), make_image(kind="kernel")
    for path in (f"{disk['id']}/content/kernel", f"{disk['id']}/content/initrd", f"{kernel['id']}/content"):
        response = api.put(f"/v1/images/{path}", RAW)
        assert response.status in (409, 422), (path, response)


def test_what_does_not_exist(api):
    for response in (api.get("/v1/images/nothing"), api.delete("/v1/images/nothing"),
                     api.put("/v1/images/nothing/content", RAW)):
        assert response.status == 404 and response.code == "image-not-found"


def test_an_image_in_use_stays(api, make_image, make_vm):
    image = make_image(kind="disk", format="raw")
    assert api.put(f"/v1/images/{image['id']}/content", RAW).status == 200
    vm = make_vm(image=image["name"])
    assert vm["image"] == image["name"] and vm["image_id"] == image["id"]
    assert api.get(f"/v1/images/{image['id']}").json["used_by"] == 1
    response = api.delete(f"/v1/images/{image['id']}")
    assert response.status == 409 and response.code == "image-in-use"
    assert api.delete(f"/v1/vms/{vm['id']}", wait=30).status == 200
    assert api.delete(f"/v1/images/{image['id']}").status == 204
    assert api.get(f"/v1/images/{image['id']}").status == 404


def test_a_vm_from_an_image_without_bytes_is_refused(api, make_image, name):
    image = make_image(kind="disk", format="raw")
    response = api.post("/v1/vms", {"name": name(), "image": image["name"]})
    assert response.status == 409 and response.code == "image-state-conflict"
    assert response.json["pointer"] == "/image"


def test_an_upload_that_breaks_off_leaves_nothing_behind(daemon, api, make_image, wait_until):
    image = make_image(kind="disk", format="raw")
    head = f"PUT /v1/images/{image['id']}/content HTTP/1.1\r\nHost: {daemon.address}\r\n" \
           f"Authorization: Bearer {daemon.admin_token()}\r\nContent-Length: 1000000\r\n\r\n"
    import socket
    with socket.create_connection(tuple(daemon.address.rsplit(":", 1)), timeout=10) as sock:
        sock.sendall(head.encode() + b"x" * 1000)
    wait_until(lambda: api.put(f"/v1/images/{image['id']}/content", RAW).status == 200, what="a second upload")


def test_a_large_upload_streams(api, make_image):
    data = os.urandom(1 << 20) * 24
    image = make_image(kind="disk", format="raw")
    response = api.put(f"/v1/images/{image['id']}/content", data, headers=digest(data))
    assert response.status == 200
    assert response.json["files"]["content"]["size_bytes"] == len(data)


def test_lists_are_paged(api, make_image):
    made = [make_image(kind="iso")["id"] for _ in range(3)]
    ids, cursor = [], None
    while True:
        page = api.get("/v1/images", limit=2, cursor=cursor).json
        ids += [i["id"] for i in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert ids[-3:] == made
