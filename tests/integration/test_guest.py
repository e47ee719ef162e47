"""What is asked of a guest's inside, where there is none: on libvirt's test driver. Real agents are in
tests/qemu/test_agent.py, hostile ones in tests/unit/guest."""
import pytest

KEY = "ssh-ed25519 " + "A" * 68
ROUTES = [("post", "exec", {"argv": ["true"]}), ("post", "agent/freeze", {}), ("post", "agent/thaw", None),
          ("post", "agent/time", None), ("post", "agent/password", {"user": "root", "password": "x"}),
          ("post", "agent/ssh-keys", {"user": "root", "keys": [KEY]})]


@pytest.fixture
def vm(api):
    made = api.post("/v1/vms", {"name": "guest", "start": True}, wait="running")
    assert made.status == 201, made
    yield made.json["id"]
    api.delete("/v1/vms/guest", force=True, wait=30)


@pytest.fixture
def off(api):
    assert api.post("/v1/vms", {"name": "off"}).status == 201
    yield "off"
    api.delete("/v1/vms/off", force=True, wait=30)


def test_an_agent_is_off_with_its_vm(api, off):
    told = api.get(f"/v1/vms/{off}/agent")
    assert told.status == 200 and told.json["state"] == "off" and "stopped" in told.json["reason"]
    assert told.json["os"] is None and told.json["users"] is None
    assert api.get(f"/v1/vms/{off}/addresses").json["items"] == []


def test_a_vm_without_a_channel_has_no_agent(api):
    api.post("/v1/vms", {"name": "bare", "guest_agent": False, "start": True}, wait="running")
    assert api.get("/v1/vms/bare/agent").json["state"] == "absent"
    answer = api.post("/v1/vms/bare/exec", {"argv": ["true"]})
    assert answer.status == 409 and answer.code == "agent-unavailable" and "guest_agent" in answer.json["remedy"]
    api.delete("/v1/vms/bare", force=True, wait=30)


@pytest.mark.parametrize("method, path, body", ROUTES, ids=[r[1] for r in ROUTES])
def test_a_vm_that_is_off_is_not_asked(api, off, method, path, body):
    answer = getattr(api, method)(f"/v1/vms/{off}/{path}", body)
    assert answer.status == 409 and answer.code == "vm-state-conflict" and answer.json["remedy"], answer


@pytest.mark.parametrize("method, path, body", ROUTES, ids=[r[1] for r in ROUTES])
def test_a_vm_that_does_not_exist(api, method, path, body):
    answer = getattr(api, method)(f"/v1/vms/nobody/{path}", body)
    assert answer.status == 404 and answer.code == "vm-not-found", answer


def test_files_of_a_vm_that_is_off(api, off):
    assert api.get(f"/v1/vms/{off}/files?path=/etc/motd").code == "vm-state-conflict"
    assert api.put(f"/v1/vms/{off}/files?path=/etc/motd", b"x" * 100000).code == "vm-state-conflict"
    assert api.get("/v1/vms/nobody/files?path=/x").status == 404
    assert api.put("/v1/vms/nobody/files?path=/x", b"x").status == 404


def test_a_hypervisor_without_agents_says_so(api, vm):
    assert api.get(f"/v1/vms/{vm}/agent").code == "not-supported-by-host"
    assert api.post(f"/v1/vms/{vm}/exec", {"argv": ["true"]}).status == 501
    assert api.get(f"/v1/vms/{vm}/addresses").json["items"] == []


BAD = [
    ({}, "/argv"), ({"argv": []}, "/argv"), ({"argv": "true"}, "/argv"), ({"argv": [1]}, "/argv/0"),
    ({"argv": [""]}, "/argv/0"), ({"argv": ["a", "b" * 32769]}, "/argv/1"), ({"argv": ["a"] * 257}, "/argv"),
    ({"argv": ["a"], "shell": True}, "/shell"), ({"argv": ["a"], "timeout_seconds": 0}, "/timeout_seconds"),
    ({"argv": ["a"], "timeout_seconds": 3601}, "/timeout_seconds"),
    ({"argv": ["a"], "timeout_seconds": "1"}, "/timeout_seconds"),
    ({"argv": ["a"], "environment": []}, "/environment"), ({"argv": ["a"], "environment": {"1A": ""}}, "/environment/1A"),
    ({"argv": ["a"], "environment": {"A=B": ""}}, "/environment/A=B"), ({"argv": ["a"], "environment": {"A": 1}}, "/environment/A"),
    ({"argv": ["a"], "stdin": 1}, "/stdin"), ({"argv": ["a"], "stdin_base64": "no!"}, "/stdin_base64"),
    ({"argv": ["a"], "stdin": "", "stdin_base64": ""}, "/stdin_base64"),
    ({"argv": ["a"], "stdin": "x" * 262145}, "/stdin"),
    ({"steps": []}, "/steps"), ({"steps": [{"argv": ["a"]}] * 33}, "/steps"), ({"steps": [{}]}, "/steps/0/argv"),
    ({"steps": [{"argv": ["a"]}, {"argv": ["b"], "x": 1}]}, "/steps/1/x"),
    ({"steps": [{"argv": ["a"]}], "argv": ["b"]}, "/argv"), ({"argv": ["a"], "keep_going": True}, "/keep_going"),
    ({"argv": ["a"], "stream": 1}, "/stream"), ({"steps": [{"argv": ["a"], "stream": True}]}, "/steps/0/stream"),
    ({"steps": [{"argv": ["a"]}], "stream": True}, "/stream"),
]


@pytest.mark.parametrize("body, pointer", BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_programs(api, off, body, pointer):
    answer = api.post(f"/v1/vms/{off}/exec", body)
    assert answer.status == 422 and answer.code == "validation-failed" and answer.json["pointer"] == pointer, answer


@pytest.mark.parametrize("path, body, pointer", [
    ("freeze", {"seconds": 0}, "/seconds"), ("freeze", {"seconds": 601}, "/seconds"), ("freeze", {"for": 1}, "/for"),
    ("password", {"user": "root"}, "/password"), ("password", {"user": "-x", "password": "a"}, "/user"),
    ("password", {"user": "a b", "password": "a"}, "/user"), ("password", {"user": "a", "password": "a\nb"}, "/password"),
    ("ssh-keys", {"user": "root"}, "/keys"), ("ssh-keys", {"user": "root", "keys": ["x"]}, "/keys/0"),
    ("ssh-keys", {"user": "root", "keys": ["command=\"rm\" " + KEY]}, "/keys/0"),
    ("ssh-keys", {"user": "root", "keys": [KEY, KEY + "\nssh-rsa"]}, "/keys/1"),
    ("ssh-keys", {"user": "root", "keys": [KEY] * 65}, "/keys"),
])
def test_bad_requests_of_the_agent(api, off, path, body, pointer):
    answer = api.post(f"/v1/vms/{off}/agent/{path}", body)
    assert answer.status == 422 and answer.json["pointer"] == pointer, answer
    assert api.get(f"/v1/vms/{off}").json["state"] == "stopped"


@pytest.mark.parametrize("query, pointer", [("", "path"), ("?path=", "path"), ("?path=relative", "path"),
                                            ("?path=/a&mode=8", "mode"),
                                            ("?path=/a&mode=99", "mode"), ("?path=/a&mode=00644", "mode")])
def test_bad_paths(api, off, query, pointer):
    answer = api.put(f"/v1/vms/{off}/files{query}", b"x")
    assert answer.status == 400 and answer.json["pointer"] == pointer, answer
    if pointer == "path":
        assert api.get(f"/v1/vms/{off}/files{query}").json["pointer"] == "path"


def test_only_those_who_may(daemon, api, off):
    def client(**body):
        return daemon.client(api.post("/v1/tokens", {"name": "t", **body}).json["token"])

    viewer, operator = client(role="viewer"), client(role="operator")
    narrow = client(role="admin", scopes=["vm:read", "vm:write"])
    for caller in (viewer, narrow):
        answer = caller.post(f"/v1/vms/{off}/exec", {"argv": ["true"]})
        assert answer.status == 403 and "vm:exec" in answer.text
        assert caller.get(f"/v1/vms/{off}/files?path=/etc/shadow").status == 403
        assert caller.put(f"/v1/vms/{off}/files?path=/x", b"x").status == 403
        assert caller.get(f"/v1/vms/{off}/agent").status == 200
    assert viewer.post(f"/v1/vms/{off}/agent/freeze", {}).status == 403
    assert operator.post(f"/v1/vms/{off}/exec", {"argv": ["true"]}).status == 409


def test_programs_that_are_not_there(daemon, api, off):
    assert api.get(f"/v1/vms/{off}/exec").json == {"items": [], "next_cursor": None}
    for path in ("00000000-0000-4000-8000-000000000000", "x"):
        assert api.get(f"/v1/vms/{off}/exec/{path}").code == "exec-not-found"
        assert api.delete(f"/v1/vms/{off}/exec/{path}").code == "exec-not-found"
        assert api.get(f"/v1/vms/{off}/exec/{path}/stream").status == 426
    assert api.get("/v1/vms/nobody/exec").status == 404
    ticket = {"vm": off, "stream": "exec/00000000-0000-4000-8000-000000000000/stream"}
    assert api.post("/v1/tickets", ticket).code == "stream-not-found"
    viewer = daemon.client(api.post("/v1/tokens", {"name": "t", "role": "viewer"}).json["token"])
    assert viewer.get(f"/v1/vms/{off}/exec").status == 403


def test_a_stream_of_a_vm_that_is_off(api, off):
    key = {"Idempotency-Key": "off"}
    for body in ({"argv": ["true"], "stream": True}, {"argv": ["true"]}):
        answer = api.post(f"/v1/vms/{off}/exec", body, headers=key if "stream" not in body else None)
        assert answer.status == 409 and answer.code == "vm-state-conflict", answer
    again = api.post(f"/v1/vms/{off}/exec", {"argv": ["true"]}, headers=key)
    assert again.status == 409 and again.code == "vm-state-conflict", again  # what came of it the first time
    told = api.get(f"/v1/vms/{off}/exec").json["items"]
    assert [p["state"] for p in told] == ["failed", "failed"] and told[0]["problem"]["code"] == "vm-state-conflict"
