"""One thing of each kind that can belong to somebody, and how each operation is asked about it."""
import re
import uuid

from conftest import CONTRACT
from daemon import eventually

SMALL = {"memory_mib": 64, "networks": []}
# What has an address in nobody's project: the installation's, or a part of what is asked for first.
NOBODYS = {"slug", "file", "entry", "source"}
PARTS = {"channel": "org.example.0", "port": "0", "exec": "4711", "member": "1"}
BODIES = {"measureDirtyRate": {"seconds": 1}, "rebaseVm": {"image": "x"}, "execInVm": {"argv": ["true"]},
          "addGuestSshKeys": {"user": "root", "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA x"]},
          "setGuestPassword": {"user": "root", "password": "secret"}, "freezeVm": {"seconds": 5},
          "putImageLabel": {"image": "x"}, "redeliverWebhook": {"from_seq": 1}, "renewLease": {"ttl_seconds": 60},
          "extendSet": {"ttl_seconds": 60}, "patchToken": {"quota": {}},
          "putPool": {"ready": 0, "max": 1, "vm": SMALL}}
# A name is the caller's to give, so what another project calls so does not stand in the way.
MAKES_BY_NAME = {"putPool", "putImageLabel"}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def made(response, status=201):
    assert response.status == status, response
    return response.json


def make(admin, **where):
    """Parameter of a path -> the ways to name the thing: id, name. where: project="other"."""
    image = made(admin.post("/v1/images", {"name": "own-image", "kind": "disk", "format": "raw"}, **where))
    uploaded = admin.put("/v1/images/own-image/content", b"\0" * 512, **where)
    assert uploaded.status in (200, 202), uploaded
    eventually(lambda: admin.get("/v1/images/own-image", **where).json["state"] == "ready", 60, "the image is ready")
    labelled = admin.request("PUT", "/v1/image-labels/own-label", {"image": "own-image"}, **where)
    assert labelled.status in (200, 201), labelled
    vm = made(admin.post("/v1/vms", {"name": "own-vm", **SMALL}, **where))
    pool = made(admin.request("PUT", "/v1/pools/own-pool", {"ready": 0, "max": 2, "vm": SMALL}, **where), 201)
    lease = made(admin.post("/v1/leases", {"pool": "own-pool", "ttl_seconds": 3600}, wait="claimed", timeout=60,
                            patience=90, **where))
    made(admin.post("/v1/sets", {"name": "own-set", "count": 1, "machines": [{"name": "pc", **SMALL}]}, **where))
    hook = made(admin.post("/v1/webhooks", {"url": "http://127.0.0.1:9/x"}, **where))
    token = made(admin.post("/v1/tokens", {"name": "own-token", "role": "viewer"}, **where))
    ticket = made(admin.post("/v1/tickets", {"vm": "own-vm", "stream": "console", "mode": "view", "name": "own",
                                             "expires_in_seconds": 3600, "single_use": False}, **where))
    operation = admin.get("/v1/operations", **where).json["items"][0]
    return {"vm": [vm["id"], "own-vm"], "image": [image["id"], "own-image"], "label": ["own-label"],
            "pool": [pool["id"], "own-pool"], "lease": [lease["id"]], "set": ["own-set"],
            "webhook": [hook["id"]], "token": [token["id"]], "ticket": [ticket["id"]],
            "operation": [operation["id"]], "project": [where.get("project", "default")]}


def parameters(operation):
    return re.findall(r"{(\w+)}", operation.path)


def kind(operation):
    """The parameter that names something of a project's, or None."""
    names = parameters(operation)
    return names[0] if names and names[0] not in NOBODYS else None


def missing(name, like):
    """Something of the same form that nobody has."""
    if name in {"token", "ticket"}:
        return "AbCdEf" + "000000"
    return str(uuid.uuid4()) if UUID.fullmatch(like) else "no-such" + "x" * (len(like) - 7)


def ask(client, operation, value=None, query="", body=None):
    """The operation, of a thing. What changes something without being asked about one is asked for nonsense."""
    path, headers = operation.path, {}
    names = parameters(operation)
    for name in names[1:] if kind(operation) else names:
        path = path.replace("{%s}" % name, PARTS.get(name, "no-such"))
    if kind(operation):
        path = path.replace("{%s}" % names[0], value)
    if body is None:
        body = BODIES.get(operation.id)
    if body is None and operation.method in ("PATCH", "POST") and "requestBody" in operation.node:
        body = {} if kind(operation) else {"no_such_member": 1}
    if operation.id.startswith("open"):
        headers = UPGRADE
        query = query or ("" if operation.id == "openVmExec" else "mode=view")
    if path.endswith("/files"):
        path += "?path=/etc/hosts"
    elif query:
        path += "?" + query
    if operation.method == "PATCH":
        return client.patch(path, body, headers=headers)
    return client.request(operation.method, path, body, headers=headers)


def shape(response, ref=None):
    """All of an answer but what differs between two of the same request; ref is taken out."""
    headers = {k.lower(): v for k, v in response.headers}
    for name in ("x-request-id", "date"):
        headers.pop(name, None)
    text = re.sub(r'"instance":"[^"]*"', "", response.text)
    if ref is not None:
        text = text.replace(ref, "REF")
        headers.pop("content-length", None)
    elif "instance" in response.text:
        headers.pop("content-length", None)
    return response.status, headers, text


OPERATIONS = CONTRACT.operations
