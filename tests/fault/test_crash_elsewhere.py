"""SIGKILL at the points that a campaign under load does not come to: a new boot of the host, every migration,
a libvirt that goes away, a stop, a set's new disks, left-over files, a copy of the database."""
import os
import signal
import sqlite3
import subprocess
import uuid
from pathlib import Path

import pytest
from crash_checks import Checks, _seconds, quiet, wait_until
from crash_clients import furnish
from crash_lab import CRASH_BUILD, OFFLINE, Lab
from test_crash_points import needs_crash_build

pytestmark = needs_crash_build


@pytest.fixture
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture
def furnished(lab):
    assert lab.start()
    furnish(lab, quiet)
    return lab, Checks(lab)


def dies_at_start(lab, point, times=1):
    lab.control.arm(point, times)
    assert not lab.start() or wait_until(lambda: not lab.alive(), f"the end at {point}")
    lab.control.arm()


def asked(lab, *request, status=(200, 201, 202)):
    answer = lab.link.ask(*request)
    assert answer[0] in status, (request, answer)
    return answer[1]


MIGRATIONS = len(list((Path(__file__).resolve().parents[2] / "db" / "migrations").glob("*.sql")))


def test_every_migration(lab):
    """Killed in each one, then after each one: what is there is whole, and the next start goes on from it."""
    for times in range(1, MIGRATIONS + 1):
        dies_at_start(lab, "db.migration", times)
        for path in lab.state.glob("drover.db*"):
            path.unlink()
    for done in range(1, MIGRATIONS + 1):
        dies_at_start(lab, "db.migrated")
        db = lab.database()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA user_version").fetchone() == (done,)
        db.close()
    assert lab.start() and lab.get("/v1/vms")["items"] == []


def test_a_new_boot_of_the_host(furnished):
    lab, checks = furnished
    lease = asked(lab, "POST", "/v1/leases", {"pool": "many", "ttl_seconds": 600})
    quiet(lab)
    lab.kill()
    db = sqlite3.connect(lab.state / "drover.db")
    db.execute("UPDATE leases SET boot_id = ? WHERE id = ?", (str(uuid.uuid4()), lease["id"]))
    db.commit()
    db.close()
    dies_at_start(lab, "lease.new-boot")
    assert lab.start()
    checks.all()
    after = lab.get(f"/v1/leases/{lease['id']}")
    assert after["state"] == "active" and after["vm"]["id"] == lease["vm"]["id"]
    assert abs(_seconds(after["expires_at"]) - _seconds(lease["expires_at"])) < 2, "the time it was promised"


def test_a_libvirt_that_goes_away(furnished):
    lab, _ = furnished
    lab.control.arm("link.lost")
    lab.conn.close()
    lab.libvirtd.kill9()
    wait_until(lambda: not lab.alive(), "the end at link.lost")
    lab.buried()
    lab.control.arm()
    lab.libvirtd.start()
    import libvirt  # pylint: disable=import-outside-toplevel
    lab.conn = libvirt.open(lab.libvirtd.own_uri)
    assert lab.start(), "its domains went with libvirtd; what is stored is here"
    quiet(lab)
    assert lab.get("/v1/vms/model")["state"] == "stopped"
    op = asked(lab, "POST", "/v1/vms/model/start?wait=20")
    assert op["state"] == "succeeded", op


def test_a_stop(furnished):
    lab, checks = furnished
    lab.control.arm("stop.begun")
    lab.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not lab.alive(), "the end at stop.begun")
    lab.buried()
    lab.control.arm()
    assert lab.start()
    checks.all()


def test_a_set_whose_disks_are_made_anew(furnished):
    lab, checks = furnished
    asked(lab, "POST", "/v1/sets", {"name": "set", "count": 2, "machines": [
        {"name": "m", "memory_mib": 16, "image": "base"}]})
    quiet(lab)
    lab.control.arm("reimage.cleared", 2)
    request = ("POST", "/v1/sets/set/reimage", {"start": True}, {"Idempotency-Key": str(uuid.uuid4())})
    try:
        asked(lab, *request)
    except OFFLINE:
        pass  # it died before it had answered
    wait_until(lambda: not lab.alive(), "the end at reimage.cleared")
    lab.buried()
    lab.control.arm()
    assert lab.start()
    op = asked(lab, *request)
    wait_until(lambda: lab.get(f"/v1/operations/{op['id']}")["state"] == "succeeded", "the set's operation", 60)
    checks.all()
    assert [vm["state"] for vm in lab.items("/v1/vms?limit=1000") if vm["name"].startswith("set-")] == ["running"] * 2


def test_left_over_files(furnished):
    lab, checks = furnished
    lab.kill()
    for _ in range(4):
        (lab.state / "images" / "tmp" / str(uuid.uuid4())).write_bytes(b"half an upload")
    for _ in range(3):
        dies_at_start(lab, "recovery.swept")
    assert lab.start()
    checks.all()


def test_a_copy_of_the_database(furnished):
    lab, checks = furnished
    command = [CRASH_BUILD / "droverd", "--database", "backup", "--state-dir", lab.state]
    for point in ("db.backup-written", "db.backup-renamed"):
        died = subprocess.run(command, env={**os.environ, "DROVER_CRASH": point}, capture_output=True, check=False)
        assert died.returncode == -signal.SIGKILL, died
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    names = sorted(p.name for p in (lab.state / "backups").iterdir())
    assert len(names) == 2 and all(n.endswith(".db") for n in names), names
    for name in names:
        db = sqlite3.connect(f"file:{lab.state}/backups/{name}?mode=ro", uri=True)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",) and \
            db.execute("SELECT count(*) FROM vms WHERE name = 'model'").fetchone() == (1,)
        db.close()
    checks.all()
