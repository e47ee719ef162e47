"""The same misfortunes with real guests: boot sectors under QEMU."""
import os
import shutil
import signal
import time
from pathlib import Path

import guests
import pytest
from daemon import eventually
from invariants import FINAL, database_is_sound, events_are_gapless, quiet, unsuccessful, vms
from libvirtd import Libvirtd
from load import Clients, History

QEMU = "qemu-system-x86_64"
HELLO = b"Hello from the boot sector. I echo.\r\n"
pytestmark = pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed")


def processes(text):
    """Pids of living QEMU processes with the text in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and text.encode() in command and QEMU.encode() in command.split(b"\0")[0]:
            found.append(int(entry.name))
    return found


@pytest.fixture
def embedded(make_daemon):
    """A daemon with the embedded driver; no guest of its outlives the test."""
    daemon = make_daemon(libvirt="")
    yield daemon
    left = []
    try:
        if daemon.process:
            api = daemon.client()
            for vm in vms(api):
                api.delete(f"/v1/vms/{vm['id']}", force=True, wait=60)
            daemon.stop()
            left = processes(str(daemon.state_dir))
    finally:
        for pid in processes(str(daemon.state_dir)):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"QEMU processes are left: {left}"


# cli, hlt, jmp to itself: dozens of these cost no processor.
IDLE = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"


def ensure_image(daemon, name="hello"):
    api = daemon.client()
    content = IDLE if name == "idle" else guests.GUESTS[name]()
    assert api.post("/v1/images", {"name": name, "kind": "disk", "format": "raw"}).status == 201
    answer = api.put(f"/v1/images/{name}/content", content.ljust(1 << 20, b"\0"))
    assert answer.status == 200 and answer.json["state"] == "ready", answer


def guest(name, rng=None, **more):
    return {"name": name, "image": "hello", "memory_mib": 16, "acceleration": "emulated", "networks": [],
            "vsock": False, "start": rng.random() < 0.6 if rng else True, **more}


def idle_guest(name, rng):
    return guest(name, rng, image="idle")


def agree(daemon):
    """Rows, directories and QEMU processes."""
    api = daemon.client()
    listed = vms(api)
    ids = {vm["id"] for vm in listed}
    assert {p.name for p in (daemon.state_dir / "vms").iterdir()} == ids
    for vm in listed:
        assert vm["state"] in FINAL, vm
        assert len(processes(vm["id"])) == (vm["state"] in ("running", "paused")), vm
    assert len(processes(str(daemon.state_dir))) == sum(vm["state"] in ("running", "paused") for vm in listed)
    definitions = {p.stem for p in (daemon.state_dir / "libvirt").rglob("etc/qemu/*.xml")} | \
                  {p.stem for p in (daemon.state_dir / "libvirt/etc").glob("*.xml")}
    assert not definitions or definitions == {vm["name"] for vm in listed}, definitions
    database_is_sound(daemon.state_dir)
    return listed


def test_kills_with_guests(embedded, rng, long):
    """kill -9 while guests are created, started and deleted: those that run go on running."""
    daemon, history = embedded.start(), History()
    ensure_image(daemon, "idle")
    for number in range(4 * long):
        clients = Clients(daemon, history, rng, 14, threads=4, prefix=f"q{number}", define=idle_guest).start()
        clients.wait_for(rng.randrange(1, 14))
        end = time.monotonic() + rng.random() * 0.5
        while time.monotonic() < end:
            pass
        running = {vm["id"]: processes(vm["id"]) for vm in vms(daemon.client()) if vm["state"] == "running"}
        daemon.kill9()
        clients.join()
        survivors = {i: p for i, p in running.items() if processes(i)}
        daemon.start()
        api = daemon.client()
        quiet(api, 120)
        # The guests that nobody wanted gone are the same processes as before.
        deleted = {c.id for c in history.deletes.values()}
        for vm, pids in survivors.items():
            assert vm in deleted or processes(vm) == pids
        agree(daemon)
        for call in [c for c in (*history.creates.values(), *history.deletes.values()) if c.status is None]:
            assert call.send(api).status in (201, 202)
        quiet(api, 120)
        listed = {vm["name"]: vm["id"] for vm in agree(daemon)}
        kept = {n: c.id for n, c in history.creates.items() if n not in history.deletes}
        assert listed == kept
    failed = unsuccessful(api)
    assert not failed, failed
    events_are_gapless(api)


def test_a_console_survives_the_daemon(embedded):
    """Its guest does not notice the kill; the console is there again and echoes."""
    daemon = embedded.start()
    ensure_image(daemon)
    api = daemon.client()
    assert api.post("/v1/vms", guest("talks"), wait="console", timeout=120, patience=130).status == 201
    with daemon.websocket("/v1/vms/talks/console?from=0") as ws:
        ws.expect(HELLO)
    pid = processes(api.get("/v1/vms/talks").json["id"])
    daemon.kill9()
    daemon.start()
    assert processes(daemon.client().get("/v1/vms/talks").json["id"]) == pid
    with daemon.websocket("/v1/vms/talks/console") as ws:
        ws.send("still here")
        ws.expect(b"still here")


def test_a_full_disk_and_consoles(make_daemon, tmp_path):
    """What runs, runs on: guests, their consoles, reading; writes are refused until there is room."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    from test_disk import SETTINGS, SmallDisk, create, fill_by_writing, is_refused, parts

    disk = SmallDisk(96)
    daemon = make_daemon(libvirt="", state_dir=disk.dir, settings=SETTINGS)
    daemon.log_path = tmp_path / "droverd.log"
    try:
        daemon.start()
        ensure_image(daemon)
        api = daemon.client()
        assert api.post("/v1/vms", guest("talks"), wait="console", timeout=120, patience=130).status == 201
        _, refused = fill_by_writing(api, disk, "full")
        with daemon.websocket("/v1/vms/talks/console?from=0") as ws:
            ws.expect(HELLO)
            for i in range(20):
                ws.send(f"line {i}.")
                ws.expect(f"line {i}.".encode())
        assert api.get("/v1/vms/talks/console/log").status == 200
        assert api.get("/v1/vms/talks").json["state"] == "running"
        is_refused(api.post("/v1/vms/talks/stop"))
        disk.free()
        eventually(lambda: parts(api)[0] == 200, 30, "recovery without a restart")
        assert create(api, refused).status == 201
        answer = api.post("/v1/vms/talks/stop", wait=60)
        assert answer.status == 200 and answer.json["state"] == "succeeded", answer
        quiet(api)
        for vm in vms(api):
            assert api.delete(f"/v1/vms/{vm['id']}", force=True, wait=60).status == 200
        daemon.stop()
        assert not processes(str(disk.dir))
    finally:
        for pid in processes(str(disk.dir)):
            os.kill(pid, signal.SIGKILL)
        daemon.close()
        disk.close()


def test_libvirtd_dies_and_guests_live(make_daemon):
    """A private libvirtd with QEMU: killed, its guests run on; one dies meanwhile, and nobody tells."""
    with Libvirtd(driver="qemu+unix:///session") as libvirtd:
        try:
            daemon = make_daemon(libvirt=libvirtd.uri).start()
            api = daemon.client()
            for name in ("lives", "dies", "defined"):
                answer = api.post("/v1/vms", guest(name, image=None, start=name != "defined"),
                                  wait="running" if name != "defined" else None, timeout=120, patience=130)
                assert answer.status == 201, answer
            quiet(api)
            ids = {vm["name"]: vm["id"] for vm in vms(api)}
            pid = processes(ids["lives"])
            libvirtd.kill9()
            eventually(lambda: api.get("/readyz").status == 503, 20, "/readyz's saying so")
            assert processes(ids["lives"]) == pid
            os.kill(processes(ids["dies"])[0], signal.SIGKILL)
            eventually(lambda: not processes(ids["dies"]), 30, "the guest's end")
            libvirtd.start()
            start = time.monotonic()
            eventually(lambda: api.get("/readyz").status == 200, 30, "the reconnection")

            def states():
                return {vm["name"]: vm["state"] for vm in vms(api)}
            # libvirtd looks at its guests after it said that it is there.
            eventually(lambda: states()["dies"] in ("stopped", "crashed"), 60, "that one has died is known")
            print(f"in sync {time.monotonic() - start:.2f} s after the socket was back")
            assert states()["lives"] == "running" and states()["defined"] == "stopped", states()
            assert processes(ids["lives"]) == pid
            answer = api.post("/v1/vms/dies/start", wait=60)
            assert answer.status == 200 and answer.json["state"] == "succeeded", answer
            for vm in ids.values():
                assert api.delete(f"/v1/vms/{vm}", force=True, wait=60).status == 200
            assert not any(processes(vm) for vm in ids.values())
        finally:
            for pid in processes(str(libvirtd.dir)):
                os.kill(pid, signal.SIGKILL)


def test_a_guest_that_hangs(embedded):
    """Its QEMU is stopped by a signal: the others are managed as ever, and it, too, when it goes on."""
    daemon = embedded.start()
    ensure_image(daemon)
    ensure_image(daemon, "idle")
    api = daemon.client()
    assert api.post("/v1/vms", guest("hangs", image="idle"), wait="running", timeout=120).status == 201
    pid = processes(api.get("/v1/vms/hangs").json["id"])[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        for i in range(2):
            answer = api.post("/v1/vms", guest(f"well-{i}"), wait="console", timeout=120)
            assert answer.status == 201, answer
            with daemon.websocket(f"/v1/vms/well-{i}/console?from=0") as ws:
                ws.expect(HELLO)
                ws.send("echo")
                ws.expect(b"echo")
            answer = api.post(f"/v1/vms/well-{i}/stop", wait=60)
            assert answer.status == 200 and answer.json["state"] == "succeeded", answer
        assert api.get("/readyz").status == 200
        paused = api.post("/v1/vms/hangs/pause")
        assert paused.status == 202, paused
        assert api.post("/v1/vms/well-0/start", wait=60).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    answer = api.get(f"/v1/operations/{paused.json['id']}", wait=60)
    assert answer.json["state"] == "succeeded", answer
    eventually(lambda: api.get("/v1/vms/hangs").json["state"] == "paused", 30, "its being paused")
