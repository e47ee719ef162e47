"""Every number and every length that the contract limits: just inside, just outside, and far outside."""
import json
import re

import pytest
from conftest import CONTRACT
from daemon import Daemon
from limits_table import body_schema, limited

# Operations whose bodies are tried, with the least that they take. Of one and the same schema one will do.
BASES = {
    "createVm": {"name": "limits"},
    "putPool": {"vm": {"memory_mib": 64}, "ready": 0},
    "createLease": {"pool": "limits", "ttl_seconds": 60},
    "createSet": {"name": "limits", "count": 1, "machines": [{"name": "pc", "memory_mib": 64}]},
    "createProject": {"name": "limits"},
    "createToken": {"name": "limits", "role": "viewer"},
    "createImage": {"name": "limits", "kind": "disk", "format": "raw"},
    "createWebhook": {"url": "http://127.0.0.1:9/x", "enabled": False},
    "putImageLabel": {"image": "limits"},
    "createTicket": {"vm": "limits", "stream": "console"},
    "createCatalogueSource": {"name": "limits", "url": "https://192.0.2.1/x", "key": "x"},
    "patchVm": {}, "patchImage": {}, "patchProject": {}, "patchWebhook": {}, "patchToken": {}, "extendSet": {}, "freezeVm": {},
    "measureDirtyRate": {}, "redeliverWebhook": {},
    "rebaseVm": {"image": "there"}, "reimageSet": {}, "renewLease": {"ttl_seconds": 60},
    "setGuestPassword": {"user": "root", "password": "x"}, "addGuestSshKeys": {"user": "root", "keys": ["ssh-ed25519 AAAA me"]},
    "execInVm": {"argv": ["true"]},
}
# Where the base says the other of two.
ELSE = {("execInVm", "/steps"): {}}
NOT_TRIED = {"patchKsm": "turns the host's knobs; what the kernel takes is its own",
             "lookupTicket": "a wrong one is a failed sign-in, and so many of these end in 429",
             "createSession": "the same"}
FAR = [2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -1, -2**31, -2**63]
# What is longer than a body may be is refused as a whole.
TOO_LARGE = {"malformed-body", "body-too-large"}
WHOLE = {"malformed-body", "body-too-large", "validation-failed"}


@pytest.fixture(scope="module")
def daemon():
    with Daemon(settings={"auth_failures_per_minute": 40, "webhook_private": "true"}) as d:
        yield d


# What a path may name: nothing of it is changed by what is tried.
THERE = {}


@pytest.fixture(scope="module")
def api(daemon):
    api = daemon.client()

    def make(name, path, body):
        answer = api.post(path, body)
        assert answer.status < 300, answer
        THERE[name] = answer.json["id"]
    make("vm", "/v1/vms", {"name": "there", "memory_mib": 16})
    make("image", "/v1/images", {"name": "there", "kind": "disk", "format": "raw"})
    make("project", "/v1/projects", {"name": "there"})
    make("token", "/v1/tokens", {"name": "there", "role": "viewer"})
    make("webhook", "/v1/webhooks", {"url": "http://127.0.0.1:9/x", "enabled": False})
    make("set", "/v1/sets", {"name": "there", "count": 1, "machines": [{"name": "pc", "memory_mib": 16}]})
    make("lease", "/v1/leases", {"vm": {"name": "leased", "memory_mib": 16}, "ttl_seconds": 3600})
    return api


def test_every_operation_with_limits_is_tried():
    """A new one needs a row in BASES."""
    having = {o.id for o in CONTRACT.operations if (schema := body_schema(CONTRACT, o)) and list(limited(CONTRACT, schema))}
    assert having == BASES.keys() | NOT_TRIED.keys(), having ^ (BASES.keys() | NOT_TRIED.keys())


def outside(schema):
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if "integer" in kinds:
        low, high = schema.get("minimum"), schema.get("maximum")
        near = [low - 1] if low is not None else []
        near += [high + 1, 2 * high, high + 0.5, 1e300] if high is not None else []
        far = [n for n in FAR if (low is not None and n < low) or (high is not None and n > high)]
        return near + far + [2**64]
    if "maxLength" in schema:
        return ["a" * (schema["maxLength"] + 1), "a" * (2 * schema["maxLength"])]
    if "maxItems" in schema:
        return [[(CONTRACT.resolve(schema["items"]).get("examples") or ["x"])[0]] * n
                for n in (schema["maxItems"] + 1, 2 * schema["maxItems"])]
    if "maxProperties" in schema:
        return [{f"k{i}": "v" for i in range(n)} for n in (schema["maxProperties"] + 1, 2 * schema["maxProperties"])]
    return []


def inside(schema):
    """As far as a schema says: what else is wrong with it, the daemon may say."""
    kinds = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]
    if "integer" in kinds:
        low, high = schema.get("minimum"), schema.get("maximum")
        return [n for n in (low, high) if n is not None] + ([high - 1] if high is not None and high > low else [])
    if "maxLength" in schema and not {"pattern", "format", "enum"} & schema.keys():
        return ["a" * schema["maxLength"], "a" * (schema["maxLength"] - 1)]
    return []


def with_member(base, pointer, value):
    """What is on the way is made: an object, or a list with one entry."""
    parts = pointer[1:].split("/")
    body = at = json.loads(json.dumps(base))
    for part, after in zip(parts, [*parts[1:], None]):
        fresh = value if after is None else [] if after == "0" else {}
        if isinstance(at, list):
            at[:] = [fresh] if after is None or not at else at
            at = at[0]
        else:
            at[part] = fresh if after is None else at.get(part, fresh)
            at = at[part]
    return body


BODIES = [(o, pointer, schema) for o in CONTRACT.operations if o.id in BASES
          for pointer, schema in dict(limited(CONTRACT, body_schema(CONTRACT, o))).items()]


def send(api, operation, body):
    path = re.sub(r"{(\w+)}", lambda found: THERE.get(found[1], "limits"), operation.path)
    kind = next(iter(CONTRACT.resolve(operation.node["requestBody"])["content"]))
    return api.request(operation.method, path, body, headers={"Content-Type": kind})


@pytest.mark.parametrize("operation,pointer,schema", BODIES, ids=[f"{o.id}{p}" for o, p, _ in BODIES])
def test_a_member_outside_its_limits_is_named(api, operation, pointer, schema):
    base = ELSE.get((operation.id, pointer), BASES[operation.id])
    for value in outside(schema):
        answer = send(api, operation, with_member(base, pointer, value))
        shown = f"{str(value)[:40]}: {answer}"
        assert answer.status in (400, 413, 422) and answer.code in WHOLE, shown
        if answer.code == "validation-failed" and "/0" not in pointer: # of an entry other members are missing
            # Or what it is in, which this body must not have at all.
            named = answer.json["pointer"]
            assert named.startswith(pointer) or (pointer.count("/") > 1 and pointer.startswith(named + "/")), shown


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1e99999", b"0x10", b"01", b"+1", b"1.", b".5", b"Infinity", b"NaN", b"1_000"])
def test_what_is_no_number_in_json_is_refused(api, number):
    answer = api.post("/v1/vms", body=b'{"name": "limits", "cpus": ' + number + b"}", headers={"Content-Type": "application/json"})
    assert answer.status == 400 and answer.code == "malformed-body"


@pytest.mark.parametrize("operation,pointer,schema", BODIES, ids=[f"{o.id}{p}" for o, p, _ in BODIES])
def test_a_member_at_its_limits_is_not_what_is_wrong(api, operation, pointer, schema):
    for value in inside(schema):
        answer = send(api, operation, with_member(BASES[operation.id], pointer, value))
        assert answer.status < 500 or answer.status in (501, 503, 507), (value, answer)
        assert answer.code not in TOO_LARGE, (str(value)[:40], answer)
        if answer.code == "validation-failed":
            assert "between" not in answer.json["detail"] or answer.json["pointer"] != pointer, (value, answer)
        if answer.status == 201 and operation.path in ("/v1/vms", "/v1/projects", "/v1/sets", "/v1/images"):
            gone = api.delete(f"{operation.path}/limits", wait=60 if operation.path in ("/v1/vms", "/v1/sets") else None,
                              patience=90)
            assert gone.status < 300, gone


def arguments():
    for operation in CONTRACT.operations:
        for node in operation.node.get("parameters", ()):
            node = CONTRACT.resolve(node)
            schema = CONTRACT.resolve(node.get("schema", {}))
            if node["in"] == "query" and schema.get("type") == "integer" and "minimum" in schema:
                yield pytest.param(operation, node["name"], schema, id=f"{operation.id}?{node['name']}")


@pytest.mark.parametrize("operation,name,schema", arguments())
def test_an_argument_outside_its_limits_is_named(api, operation, name, schema):
    """Where nothing is found it may be refused for that first; it is never taken."""
    path = re.sub(r"{\w+}", "no-such", operation.path)
    body = {} if operation.node.get("requestBody") else None
    for value in [*outside(schema), "", "x", "1e3", "+1", " 1", "0x10", "1.0"]:
        answer = api.request(operation.method, path, body, **{name: value})
        assert 400 <= answer.status < 500, (value, answer)
        if "{" not in operation.path and answer.code == "invalid-argument":
            assert answer.json["pointer"] == name, (value, answer)
        if operation.method == "GET" and "{" not in operation.path:
            assert answer.code == "invalid-argument", (value, answer)
    if operation.method == "GET" and "{" not in operation.path:
        for value in inside(schema):
            assert api.get(path, **{name: value}).code != "invalid-argument", value


@pytest.mark.parametrize("length", ["65537", "131072", "2147483648", "4294967296", "9223372036854775807",
                                    "9223372036854775808", "18446744073709551616", "99999999999999999999999"])
def test_a_declared_length_beyond_the_limit_is_refused_before_a_byte(daemon, length):
    request = (f"POST /v1/tokens HTTP/1.1\r\nHost: {daemon.address}\r\nAuthorization: Bearer {daemon.admin_token()}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n")
    answer = daemon.client(token=None).raw(request.encode())
    assert answer.split(b" ")[1] in (b"400", b"413"), answer[:200]


def test_wrong_credentials_in_floods(daemon, api):
    """All get the same bytes, then all are told to wait; meanwhile nobody else is held up, wherever from."""
    token = api.post("/v1/tokens", {"name": "known", "role": "viewer"}).json["token"]
    known = token[:-8] + ("0" if token[-8] != "0" else "1") + token[-7:]
    wrong = ["x", known, "drover_" + "A" * 12 + "_" + "A" * 38, "drover_", "é".encode().decode("latin-1"), "a" * 3000,
             "drover_" + "0" * 12 + "_" + "0" * 38]
    before, waiting, codes = set(), set(), []
    for n in range(400):
        answer = daemon.client(wrong[n % len(wrong)]).get("/v1/vms")
        codes.append(answer.code)
        text = re.sub(r'"instance":"[^"]*"|Wait \d+ seconds', "", answer.text)
        (before if answer.status == 401 else waiting).add((answer.status, text))
        if n % 50 == 0:
            # The same address, a right credential; and the host's own administrator.
            assert api.get("/v1/vms").status == 200 and daemon.socket_client().get("/v1/vms").status == 200
    assert codes[0] == "unauthenticated" and codes[-1] == "too-many-requests"
    assert len(before) == 1 and len(waiting) == 1 and waiting.pop()[0] == 429, (before, waiting)
    assert codes.index("too-many-requests") == 40 and set(codes[40:]) == {"too-many-requests"}
    # Sign-ins and tickets by guesses are the same guesses.
    nobody = daemon.client(token=None)
    assert nobody.post("/v1/session", {"token": "x"}).code == "too-many-requests"
    assert nobody.post("/v1/tickets/lookup", {"ticket": "x" * 32}).code == "too-many-requests"
    assert nobody.post("/v1/session", {"token": token}).status == 201
