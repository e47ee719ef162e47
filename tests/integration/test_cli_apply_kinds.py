"""drover apply, diff, export: projects, images, sets and webhooks, and the order of all kinds."""
import hashlib
import os

import pytest
import yaml
from daemon import Daemon
from image_server import ImageServer
from test_cli import drover  # noqa: F401
from test_cli_apply import lines

DATA = b"\x33\xc0" + os.urandom(1 << 20)
SECRET = "whsec_" + "QUJD" * 12

# The wrong way round: what needs another comes before it.
COURSE = """\
kind: webhook
name: lab-hook
spec: {url: "https://hooks.example.org/x", events: [vm.state, "lease.*"], enabled: false, labels: {team: lab}}
---
kind: set
name: course
spec:
  count: 2
  name_pattern: "seat-{n}"
  start: false
  machines: [{name: pc, image: base, memory_mib: 64, vsock: false, user_data: "#cloud-config\\nhidden: word"}]
---
kind: label
name: base
spec: {image: sector, keep: 2}
---
kind: image
name: sector
spec:
  kind: disk
  format: raw
  title: One sector
  vm: {memory_mib: 64}
  source: {url: URL, sha256: SHA256}
---
kind: project
name: lab-a
spec: {quota: {vms: 10}, memory_merge: true, merge_with: [lab-b]}
---
kind: project
name: lab-b
spec: {memory_merge: true, merge_with: [lab-a]}
"""
ORDER = ["project/lab-a", "project/lab-b", "image/sector", "label/base", "set/course", "webhook/lab-hook"]


@pytest.fixture(scope="module")
def server():
    with ImageServer() as running:
        running.files["/sector.raw"] = DATA
        yield running


@pytest.fixture(scope="module")
def daemon():
    with Daemon(libvirt="test:///default", settings={"fetch_private": 1, "fetch_attempts": 1,
                                                     "free_space_floor_mib": 0}) as running:
        yield running


@pytest.fixture
def course(drover, server, tmp_path):  # noqa: F811
    file = tmp_path / "course.yaml"
    file.write_text(COURSE.replace("URL", server.url("/sector.raw")).replace("SHA256", hashlib.sha256(DATA).hexdigest()))
    yield file
    for words in (["webhook"], ["set"], ["image", "unlabel"], ["image"], ["project"]):
        listing = ["image", "labels"] if words == ["image", "unlabel"] else [words[0], "list"]
        verb = {"project": ["rm"], "image": ["delete"] if len(words) == 1 else []}.get(words[0], ["delete"])
        for name in drover(*listing, "-o", "name").stdout.decode().split():
            if name != "default":
                drover(*words, *verb, name)


def test_all_are_made_in_the_order_in_which_they_need_one_another(drover, course):  # noqa: F811
    assert lines(drover("apply", "-f", course, "--dry-run")) == [f"{what} created (not done: --dry-run)" for what in ORDER]
    assert drover("image", "list", parse=True)["items"] == []
    assert drover("diff", "-f", course, status=1).stdout.count(b"not on the server") == len(ORDER)
    done = drover("apply", "-f", course)
    assert lines(done) == [f"{what} created" for what in ORDER]
    assert done.stderr.count(b"webhook/lab-hook: its secret, shown this once: whsec_") == 1
    image = drover("image", "show", "sector", parse=True)
    assert (image["state"], image["title"], image["vm"]) == ("ready", "One sector", {"memory_mib": 64}), "it was waited for"
    a = drover("project", "show", "lab-a", parse=True)
    assert (a["quota"]["vms"], a["merge_with"]) == (10, ["lab-b"])
    assert {vm["name"] for vm in drover("vm", "list", parse=True)["items"]} == {"seat-1", "seat-2"}
    again = drover("apply", "-f", course)
    assert lines(again) == [f"{what} unchanged" for what in ORDER] and again.stderr == b""
    assert drover("diff", "-f", course).stdout == b""


def test_an_export_makes_the_same_where_nothing_is(drover, course):  # noqa: F811
    drover("apply", "-f", course)
    text = drover("export").stdout
    assert b"whsec_" not in text and b"hidden" not in text
    documents = list(yaml.safe_load_all(text))
    assert [f"{d['kind']}/{d['name']}" for d in documents] == ORDER, "neither a set's VMs nor the project default"
    assert documents[-1]["spec"] == {"url": "https://hooks.example.org/x", "events": ["vm.state", "lease.*"],
                                     "labels": {"team": "lab"}, "enabled": False}
    assert {line.split()[1] for line in lines(drover("apply", "-f", "-", stdin=text))} == {"unchanged"}
    assert yaml.safe_load(drover("export", "webhook", "lab-hook").stdout) == documents[-1]
    drover("export", "webhook", "none", status=4)
    for kind, words in (("webhook", ["webhook", "delete"]), ("set", ["set", "delete"])):
        (name,) = drover(kind, "list", "-o", "name").stdout.decode().split()
        drover(*words, name)
    assert [line.split()[1] for line in lines(drover("apply", "-f", "-", stdin=text))] == ["unchanged"] * 4 + ["created"] * 2
    assert drover("export").stdout == text


def test_what_differs_is_changed(drover, course):  # noqa: F811
    drover("apply", "-f", course)
    (hook,) = drover("webhook", "list", "-o", "name").stdout.decode().split()
    course.write_text(course.read_text().replace("vms: 10", "vms: 11").replace("One sector", "A sector").replace(
        "events: [vm.state, ", "events: [").replace("team: lab", "team: b"))
    shown = drover("diff", "-f", course, status=1)
    assert shown.stderr == b"" and shown.stdout.count(b"(file)") == 3 and b"+title: A sector" in shown.stdout
    assert lines(drover("apply", "-f", course)) == [
        what + (" changed" if what.split("/")[0] in ("webhook", "image") or what == "project/lab-a" else " unchanged")
        for what in ORDER]
    after = drover("webhook", "show", hook, parse=True)
    assert (after["events"], after["labels"]) == (["lease.*"], {"name": "lab-hook", "team": "b"})
    assert drover("project", "show", "lab-a", parse=True)["quota"]["vms"] == 11
    assert drover("diff", "-f", course).stdout == b""


def test_a_webhook_is_known_by_its_label_or_its_id(drover, course):  # noqa: F811
    made = drover("webhook", "add", "https://hooks.example.org/y", "--disabled", parse=True)
    file = f"{{kind: webhook, name: {made['id']}, spec: {{url: 'https://hooks.example.org/z'}}}}".encode()
    assert lines(drover("apply", "-f", "-", stdin=file)) == [f"webhook/{made['id']} changed"]
    assert yaml.safe_load(drover("export", "webhook").stdout)["name"] == made["id"]
    named = f"{{kind: webhook, name: n, spec: {{url: 'https://hooks.example.org/n', secret: {SECRET}, enabled: false}}}}".encode()
    done = drover("apply", "-f", "-", stdin=named)
    assert lines(done) == ["webhook/n created"] and b"whsec" not in done.stderr
    assert lines(drover("apply", "-f", "-", stdin=named)) == ["webhook/n unchanged"]
    other = named.replace(SECRET.encode(), b"whsec_" + b"REVG" * 12)
    assert lines(drover("apply", "-f", "-", stdin=other)) == ["webhook/n changed"]
    assert lines(drover("apply", "-f", "-", stdin=other)) == ["webhook/n unchanged"]
    drover("webhook", "add", "https://hooks.example.org/y", "--disabled", "--label", "name=n")
    refused = drover("apply", "-f", "-", stdin=named, status=5).stderr
    assert b"both have the label name=n" in refused and b"id of the one" in refused


@pytest.mark.parametrize("old, new, says", [
    ("count: 2", "count: 3", b"set/course: drover: "), ("memory_mib: 64, vsock", "memory_mib: 65, vsock", b"drover set reimage"),
    ("/sector.raw", "/other.raw", b"image/sector: drover: "), ("format: raw", "format: qcow2", b"drover image delete")])
def test_what_cannot_be_changed_is_said_before_anything_is(drover, course, old, new, says):  # noqa: F811
    drover("apply", "-f", course)
    course.write_text(course.read_text().replace(old, new).replace("vms: 10", "vms: 12"))
    refused = drover("apply", "-f", course, status=5)
    assert says in refused.stderr and b"stays as it is" in refused.stderr and refused.stdout == b""
    assert b"1 of 6 definitions cannot be applied; nothing was changed" in refused.stderr
    assert drover("apply", "-f", course, "--dry-run", status=5).stdout == b""
    assert b"stays as it is" in drover("diff", "-f", course, status=1).stderr
    assert drover("project", "show", "lab-a", parse=True)["quota"]["vms"] == 10


def test_an_image_that_does_not_come_is_said(drover, course, server):  # noqa: F811
    file = course.read_text().replace("/sector.raw", "/none.raw")
    failed = drover("apply", "-f", "-", stdin=file.encode(), status=1)
    assert b"image/sector: drover: " in failed.stderr and b"3 of 6 definitions could not be applied" in failed.stderr
    assert lines(failed) == [f"{what} created" for what in (ORDER[0], ORDER[1], ORDER[5])]
    assert drover("image", "list", parse=True)["items"] == [], "nothing is left, so it may be tried again"
    assert lines(drover("apply", "-f", course)) == [
        f"{what} {'created' if what in ORDER[2:5] else 'unchanged'}" for what in ORDER]
    nowhere = drover("apply", "-f", "-", stdin=b"{kind: image, name: other, spec: {kind: disk, format: raw}}", status=4)
    assert b"url and sha256" in nowhere.stderr
    assert [i["name"] for i in drover("image", "list", parse=True)["items"]] == ["sector"]


def test_a_viewer_exports_what_it_may_read(drover, course, daemon):  # noqa: F811
    drover("apply", "-f", course)
    token = drover("token", "create", "v", "--role", "viewer").stdout.decode().strip()
    done = drover("export", env={"DROVER_URL": daemon.url, "DROVER_TOKEN": token})
    assert b"may not read webhooks; they are left out" in done.stderr
    assert {line.split()[1] for line in lines(drover("apply", "-f", "-", stdin=done.stdout))} == {"unchanged"}
