"""Console addresses as far as the test driver goes: it has no consoles. See tests/qemu for bytes."""
import json

import pytest
from websocket import Refused


def refused(daemon, path, **kw):
    with pytest.raises(Refused) as error:
        daemon.websocket(path, **kw)
    return error.value.status, json.loads(error.value.body)["code"]


def test_without_an_upgrade_it_says_so(api, make_vm):
    vm = make_vm(channels=["org.example.0"], serial_ports=2, display=True)
    for stream in ("console", "channels/org.example.0", "serial/1", "vsock/22", "display"):
        response = api.get(f"/v1/vms/{vm['id']}/{stream}")
        assert response.status == 426 and response.code == "upgrade-required"
        assert response.header("Upgrade") == "websocket"


def test_a_vm_that_does_not_run_has_no_stream(daemon, make_vm):
    vm = make_vm(channels=["org.example.0"], serial_ports=2, display=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/console") == (409, "stream-unavailable")
    assert refused(daemon, f"/v1/vms/{vm['id']}/serial/1") == (409, "stream-unavailable")
    assert refused(daemon, f"/v1/vms/{vm['id']}/display") == (409, "stream-unavailable")
    assert refused(daemon, f"/v1/vms/{vm['id']}/channels/org.example.0") == (409, "stream-unavailable")


def test_what_does_not_exist(daemon, make_vm):
    vm = make_vm()
    assert refused(daemon, "/v1/vms/nobody/console") == (404, "vm-not-found")
    for stream in ("channels/none", "serial/1", "serial/0", "serial/x", "display"):
        assert refused(daemon, f"/v1/vms/{vm['id']}/{stream}") == (404, "stream-not-found")
    vm = make_vm(vsock=False)
    assert refused(daemon, f"/v1/vms/{vm['id']}/vsock/22") == (404, "stream-not-found")


def test_parameters(daemon, make_vm):
    path = f"/v1/vms/{make_vm()['id']}/console"
    assert refused(daemon, f"{path}?mode=watch") == (400, "invalid-argument")
    assert refused(daemon, f"{path}?from=-1") == (400, "invalid-argument")
    for unknown in (["chat"], ["v5.channel.k8s.io"], ["v5.channel.k8s.io", "v4.channel.k8s.io"]):
        assert refused(daemon, path, subprotocols=unknown) == (400, "subprotocol-unknown")
    for known in ("binary", "drover.console.v1"):
        assert refused(daemon, path, subprotocols=["chat", known]) == (409, "stream-unavailable")


def test_rights(daemon, token, make_vm):
    path, viewer = f"/v1/vms/{make_vm()['id']}/console", token("viewer")
    assert refused(daemon, path, token=None) == (401, "unauthenticated")
    assert refused(daemon, path, token=viewer) == (403, "forbidden")
    assert refused(daemon, f"{path}?mode=view", token=viewer) == (409, "stream-unavailable")


def test_a_foreign_page_is_refused_before_the_upgrade(daemon, make_vm):
    path = f"/v1/vms/{make_vm()['id']}/console"
    status, code = refused(daemon, path, headers={"Origin": "http://evil.example"})
    assert (status, code) == (403, "origin-refused")


def test_the_log_of_a_silent_vm(api, make_vm):
    vm = make_vm()
    for response in (api.get(f"/v1/vms/{vm['id']}/console/log"), api.delete(f"/v1/vms/{vm['id']}/console/log")):
        assert response.status in (200, 204) or response.code == "stream-unavailable"
    assert api.get(f"/v1/vms/{vm['id']}/console/log", format="pdf").json["pointer"] == "format"
    assert api.get(f"/v1/vms/{vm['id']}/console/log", **{"from": "x"}).json["pointer"] == "from"
    assert api.get("/v1/vms/nobody/console/log").code == "vm-not-found"


def test_the_log_of_a_stream(api, make_vm):
    log = f"/v1/vms/{make_vm(channels=['org.example.0'], serial_ports=2, display=True)['id']}/console/log"
    for stream in ("serial/1", "channels/org.example.0"):
        assert api.get(log, stream=stream).code in (None, "stream-unavailable")
        assert api.delete(log, stream=stream).code in (None, "stream-unavailable")
    for stream in ("serial/2", "channels/none"):
        assert api.get(log, stream=stream).code == "stream-not-found"
    for stream in ("display", "vsock/22", "", "serial/4", "channels/", "../console"):
        answer = api.get(log, stream=stream)
        assert (answer.status, answer.code, answer.json["pointer"]) == (400, "invalid-argument", "stream")


def test_the_test_driver_has_no_display(daemon, make_vm):
    vm = make_vm(start=True, display=True)
    assert refused(daemon, f"/v1/vms/{vm['id']}/display") == (501, "not-supported-by-host")


def test_a_picture_of_the_screen(api, make_vm):
    """The test driver's is one and the same PNG for all."""
    vm = make_vm(start=True, display=True)
    answer = api.get(f"/v1/vms/{vm['id']}/display.png")
    assert answer.status == 200 and answer.header("Content-Type") == "image/png"
    assert answer.body.startswith(b"\x89PNG\r\n\x1a\n")
    assert api.get(f"/v1/vms/{make_vm(display=True)['id']}/display.png").code == "stream-unavailable"
    assert api.get(f"/v1/vms/{make_vm(start=True)['id']}/display.png").code == "stream-not-found"
    assert api.get("/v1/vms/nobody/display.png").code == "vm-not-found"


def test_without_vsock_nothing_is_dialled(daemon, make_vm):
    """This daemon has no stand-in, so what counts is the host: never a connection where it has no vsock."""
    vm = make_vm(start=True)
    status, code = refused(daemon, f"/v1/vms/{vm['id']}/vsock/22")
    assert (status, code) in ((501, "not-supported-by-host"), (409, "stream-unavailable"))


def test_clearing_what_has_printed_nothing_yet(api, make_vm):
    vm = make_vm()
    assert api.delete(f"/v1/vms/{vm['id']}/console/log").code == "stream-unavailable"
    assert api.post(f"/v1/vms/{vm['id']}/start", wait=30).status == 200
    assert api.delete(f"/v1/vms/{vm['id']}/console/log").status == 204
