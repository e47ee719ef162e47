"""What a client gets wrong: each has its problem, and nothing changes."""
import json

import pytest

BODIES = [
    ({}, "/name"),
    ({"name": None}, "/name"),
    ({"name": 7}, "/name"),
    ({"name": ""}, "/name"),
    ({"name": "Upper"}, "/name"),
    ({"name": "-a"}, "/name"),
    ({"name": "a-"}, "/name"),
    ({"name": "a" * 64}, "/name"),
    ({"name": "a/b"}, "/name"),
    ({"name": "ok", "colour": "red"}, "/colour"),
    ({"name": "ok", "id": "x"}, "/id"),
    ({"name": "ok", "cpus": 0}, "/cpus"),
    ({"name": "ok", "cpus": 256}, "/cpus"),
    ({"name": "ok", "cpus": 1.5}, "/cpus"),
    ({"name": "ok", "cpus": "2"}, "/cpus"),
    ({"name": "ok", "cpus": True}, "/cpus"),
    ({"name": "ok", "memory_mib": 15}, "/memory_mib"),
    ({"name": "ok", "machine": "toaster"}, "/machine"),
    ({"name": "ok", "firmware": "coreboot"}, "/firmware"),
    ({"name": "ok", "acceleration": "warp"}, "/acceleration"),
    ({"name": "ok", "labels": []}, "/labels"),
    ({"name": "ok", "labels": {"a": 1}}, "/labels/a"),
    ({"name": "ok", "labels": {"": "x"}}, "/labels/"),
    ({"name": "ok", "labels": {"a~b/c": "x"}}, "/labels/a~0b~1c"),
    ({"name": "ok", "disks": {}}, "/disks"),
    ({"name": "ok", "disks": [{"size_gib": 1}, {}]}, "/disks/1/size_gib"),
    ({"name": "ok", "disks": [{"size_gib": 1, "path": "/etc/shadow"}]}, "/disks/0/path"),
    ({"name": "ok", "disks": [{"size_gib": 1}] * 9}, "/disks"),
    ({"name": "ok", "networks": [{"mode": "wormhole"}]}, "/networks/0/mode"),
    ({"name": "ok", "networks": [{"mode": "bridge"}]}, "/networks/0/source"),
    ({"name": "ok", "networks": [{"mode": "user", "source": "br0"}]}, "/networks/0/source"),
    ({"name": "ok", "networks": [{"mode": "bridge", "source": "br0'/><x"}]}, "/networks/0/source"),
    ({"name": "ok", "networks": [{"mode": "user", "mac": "01:00:00:00:00:01"}]}, "/networks/0/mac"),
    ({"name": "ok", "channels": ["a", "a"]}, "/channels/1"),
    ({"name": "ok", "channels": ["../x"]}, "/channels/0"),
    ({"name": "ok", "channels": ["org.qemu.guest_agent.0"]}, "/channels/0"),
    ({"name": "ok", "guest_agent": 1}, "/guest_agent"),
    ({"name": "ok", "start": "yes"}, "/start"),
    ({"name": "ok", "description": "a\u0000b"}, None),
    ({"name": "ok", "description": "a\u001bb"}, "/description"),
    ({"name": "ok", "description": "x" * 1025}, "/description"),
]


@pytest.mark.parametrize("body,pointer", BODIES, ids=lambda v: json.dumps(v)[:60] if isinstance(v, dict) else "")
def test_a_body_that_is_json_but_not_a_definition(api, body, pointer):
    before = api.get("/v1/vms", limit=1000).json["items"]
    response = api.post("/v1/vms", body)
    assert response.status in (400, 422), response
    if pointer is not None:
        assert response.code == "validation-failed"
        assert response.json["pointer"] == pointer
        assert response.json["detail"]
    assert api.get("/v1/vms", limit=1000).json["items"] == before


@pytest.mark.parametrize("text", [
    b"", b"   ", b"{", b"{\"name\": \"a\"", b"{\"name\": \"a\",}", b"{'name': 'a'}", b"{\"name\": \"a\"} x", b"nul",
    b"{\"name\": \"a\", \"name\": \"b\"}", b"{\"labels\": {\"a\": \"1\", \"a\": \"2\"}, \"name\": \"a\"}",
    b"{\"name\": \"\xff\xfe\"}", b"{\"name\": \"\\ud800\"}", b"{\"name\": \"a\", \"cpus\": 1e999}",
    b"[" * 10000 + b"]" * 10000, b"{\"a\":" * 10000 + b"1" + b"}" * 10000,
    b"{\"name\":\"a\",\"disks\":[" + b",".join([b"1"] * 20000) + b"]}",
], ids=lambda t: repr(t[:24]))
def test_a_body_that_is_not_acceptable_json(api, text):
    response = api.request("POST", "/v1/vms", body=text, headers={"Content-Type": "application/json"})
    assert response.status == 400 and response.code == "malformed-body", response


@pytest.mark.parametrize("text", [b"[]", b"\"name\"", b"7", b"null", b"true"])
def test_json_that_is_not_an_object(api, text):
    response = api.request("POST", "/v1/vms", body=text, headers={"Content-Type": "application/json"})
    assert response.status in (400, 422) and response.code in ("malformed-body", "validation-failed")


def test_a_body_that_is_too_large(api):
    # A VM's may carry 256 KiB of user data more than the 64 KiB that others may have.
    for path, body in (("/v1/images", {"name": "a", "description": "x" * 70000}), ("/v1/vms", {"name": "a", "user_data": "x" * 400000})):
        response = api.post(path, body)
        assert response.status == 413 and response.code == "body-too-large"


def test_a_content_type_that_is_not_json(api):
    response = api.request("POST", "/v1/vms", body=b"name=a", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status == 415 and response.code == "unsupported-media-type"


def test_an_image_that_does_not_exist(api):
    response = api.post("/v1/vms", {"name": "no-image", "image": "nothing"})
    assert response.status == 422 and response.code == "unknown-image"
    assert response.json["pointer"] == "/image"
    assert api.get("/v1/vms/no-image").status == 404


def test_addresses_that_do_not_exist(api):
    for path in ("/v2", "/v1/vm", "/v1/vms/a/b", "/v1/vms/a/explode", "/favicon.ico", "/assets/none.js"):
        response = api.get(path)
        assert response.status == 404 and response.code == "not-found", path


def test_methods_that_an_address_does_not_take(api):
    response = api.request("PUT", "/v1/vms", {"name": "a"})
    assert response.status == 405 and response.code == "method-not-allowed"
    assert {m.strip() for m in response.header("Allow").split(",")} >= {"GET", "POST"}
    assert api.delete("/v1/host").status == 405


@pytest.mark.parametrize("path", ["/v1/vms/%2e%2e", "/v1/vms/a%2fb", "/v1/vms/a%00", "/v1//vms", "/v1/vms/%zz",
                                  "/v1/vms/a%0ab", "/v1/../v1/vms"])
def test_paths_that_two_programs_could_read_differently(daemon, path):
    request = f"GET {path} HTTP/1.1\r\nHost: {daemon.address}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n" \
              "Connection: close\r\n\r\n"
    answer = daemon.client().raw(request.encode())
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer[:200]


@pytest.mark.parametrize("headers", [
    "Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: +2\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: gzip\r\n",
], ids=lambda h: h.replace("\r\n", " | "))
def test_headers_that_smuggle(daemon, headers):
    request = f"POST /v1/vms HTTP/1.1\r\nHost: {daemon.address}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n" \
              f"Content-Type: application/json\r\n{headers}\r\n{{}}"
    answer = daemon.client().raw(request.encode(), timeout=30)
    assert b"HTTP/1.1 2" not in answer, answer[:200]
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")) or answer == b"", answer[:200]


def test_a_second_host_header_is_refused(daemon):
    request = f"GET /livez HTTP/1.1\r\nHost: {daemon.address}\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in daemon.client().raw(request.encode(), timeout=30).split(b"\r\n")[0]


def test_a_foreign_host_header_is_refused(api):
    response = api.get("/livez", headers={"Host": "evil.example"})
    assert response.status == 421 and response.code == "host-refused"


def test_a_body_where_none_is_taken(api, make_vm):
    response = api.post(f"/v1/vms/{make_vm()['id']}/start", {"force": True})
    assert response.status == 400 and response.code == "malformed-body"


def test_a_request_id_is_echoed_and_made_up(api):
    assert api.get("/v1", headers={"X-Request-Id": "my.id-7"}).header("X-Request-Id") == "my.id-7"
    invented = api.get("/v1", headers={"X-Request-Id": "no spaces please"}).header("X-Request-Id")
    assert invented and invented != "no spaces please"
    problem = api.get("/v1/vms/nobody", headers={"X-Request-Id": "trace-1"})
    assert problem.json["instance"] == "urn:drover:request:trace-1"


def test_slow_senders_meet_their_deadline(fresh_daemon):
    daemon = fresh_daemon(settings={"header_timeout_ms": 2000, "body_timeout_ms": 300})
    head = f"POST /v1/vms HTTP/1.1\r\nHost: {daemon.address}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n"
    client = daemon.client()
    assert client.raw(head[:20].encode(), timeout=20).startswith((b"", b"HTTP/1.1 408"))
    slow_body = client.raw((head + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{").encode(), timeout=20)
    assert slow_body == b"" or slow_body.startswith(b"HTTP/1.1 408"), slow_body[:100]
    assert client.get("/v1/vms").json["items"] == []
