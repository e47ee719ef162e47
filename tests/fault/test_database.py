"""The database's copies: made and checked by themselves, and one brought back after damage of every kind."""
import os
import re
import shutil
import subprocess
import time

from daemon import BUILD, eventually
from invariants import copied_database, database_is_sound, quiet, vms


def db(daemon, *words, good=True):
    """What drover db WORDS says of the daemon's directory."""
    done = subprocess.run([BUILD / "drover", "db", *words, "--state-dir", daemon.state_dir], capture_output=True,
                          text=True, timeout=120, check=False)
    assert (done.returncode == 0) == good, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def copies(daemon):
    return sorted((daemon.state_dir / "backups").glob("drover-*.db"))


def make(api, name, **more):
    answer = api.post("/v1/vms", {"name": name, "memory_mib": 16, **more})
    assert answer.status == 201, answer
    quiet(api)
    return answer.json["id"]


def metric(api, name):
    return float(re.search(rf"^{name} (\S+)", api.get("/metrics").text, re.M)[1])


def test_copies_are_made_by_themselves(libvirtd, make_daemon):
    """An old one makes one due; only so many stay; each is whole and one file."""
    daemon = make_daemon(libvirt=libvirtd.uri, settings={"backup_keep": 2}).start()
    make(daemon.client(), "kept")
    for _ in range(3):
        assert "is a good copy" in db(daemon, "backup")
    daemon.stop()
    for copy in copies(daemon):
        os.utime(copy, (time.time() - 7200, time.time() - 7200))
    assert len(copies(daemon)) == 3
    before = copies(daemon)[-1]
    daemon.start()
    eventually(lambda: copies(daemon)[-1] != before and len(copies(daemon)) == 2, 60, "a new copy, and old ones gone")
    assert not [p for p in (daemon.state_dir / "backups").iterdir() if not p.name.endswith(".db")]
    assert copies(daemon)[-1].stat().st_mode & 0o777 == 0o600
    assert "1 VMs" in db(daemon, "check", copies(daemon)[-1])
    api = daemon.client()
    # It counts once it is checked and the old ones are gone.
    eventually(lambda: abs(metric(api, "drover_database_backup_timestamp_seconds") - time.time()) < 300, 60, "its time")
    assert metric(api, "drover_database_backup_failures_total") == 0
    assert "is whole" in db(daemon, "check")


def test_a_copy_that_fails_is_told(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    db(daemon, "backup")
    daemon.stop()
    copy = copies(daemon)[0]
    os.utime(copy, (1, 1))
    (daemon.state_dir / "backups" / "making.part").mkdir()
    api = daemon.start().client()
    events = eventually(lambda: [e for e in api.get("/v1/events", limit=1000).json["items"]
                                 if e["type"] == "database.backup-failed"], 60, "the event")
    assert events[0]["data"]["reason"]
    assert metric(api, "drover_database_backup_failures_total") >= 1
    assert copies(daemon) == [copy], "the old one stays"
    assert "making.part" in db(daemon, "backup", good=False)


def test_damage_and_a_copy_brought_back(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    kept = make(daemon.client(), "kept", start=True)
    db(daemon, "backup")
    later = make(daemon.client(), "later", start=True)
    assert "another process" in db(daemon, "restore", good=False), "not while it runs"
    daemon.kill9()
    domains = libvirtd.domains()
    path = daemon.state_dir / "drover.db"
    with open(path, "r+b") as file:
        file.seek(0)
        file.write(os.urandom(8192))
    for name in ("drover.db-wal", "drover.db-shm"):
        (daemon.state_dir / name).unlink(missing_ok=True)
    refused = subprocess.run([BUILD / "droverd", "--state-dir", daemon.state_dir, "--listen", "127.0.0.1:0", "--libvirt",
                              libvirtd.uri], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1 and "drover db" in refused.stderr, refused
    assert "drover db restore" in db(daemon, "check", good=False)
    assert copies(daemon)[-1].name in db(daemon, "restore")
    assert list(daemon.state_dir.glob("drover.db.before-*")), "what was there is kept"
    api = daemon.start().client()
    assert [(vm["id"], vm["state"]) for vm in vms(api)] == [(kept, "running")]
    assert libvirtd.domains() == domains, "guests were not touched"
    assert later in daemon.log(), "the VM that the copy does not know is named"
    assert set(libvirtd.virsh("list", "--uuid").split()) >= {kept, later}, "both run on"
    make(api, "after")
    database_is_sound(daemon.state_dir)
    # Once more with a copy that is not good itself: the one before it is taken.
    db(daemon, "backup")
    daemon.stop()
    with open(copies(daemon)[-1], "r+b") as file:
        file.truncate(5000)
    assert copies(daemon)[0].name in db(daemon, "restore")


def damage(path, rng):
    """One bit, some bytes, a page, or the end of it."""
    size = path.stat().st_size
    kind = rng.choice(["bit", "bit", "bit", "bytes", "page", "cut"])
    with open(path, "r+b") as file:
        at = rng.randrange(size)
        if kind == "cut":
            file.truncate(at)
        elif kind == "bit":
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        else:
            file.seek(at)
            file.write(rng.randbytes(16 if kind == "bytes" else 4096))
    return f"{kind} at {at} of {size}"


def test_bits_that_flip(libvirtd, make_daemon, rng, long):
    """The daemon starts or says why it does not; it never crashes, and no guest is touched."""
    daemon = make_daemon(libvirt=libvirtd.uri, ready=False).start()
    daemon.wait_ready()
    for n in range(6):
        make(daemon.client(), f"vm-{n}", start=n % 2 == 0)
    running = set(libvirtd.virsh("list", "--uuid").split())
    daemon.stop()  # checkpoints: everything is in the one file
    good = daemon.state_dir / "good"
    shutil.copy(daemon.state_dir / "drover.db", good)
    started = refused = 0
    for _ in range(30 if long == 1 else 10000):
        for name in ("drover.db-wal", "drover.db-shm"):
            (daemon.state_dir / name).unlink(missing_ok=True)
        shutil.copy(good, daemon.state_dir / "drover.db")
        what = damage(daemon.state_dir / "drover.db", rng)
        (daemon.state_dir / "listen.addr").unlink(missing_ok=True)
        with open(daemon.log_path, "wb") as log:
            process = subprocess.Popen([BUILD / "droverd", "--state-dir", daemon.state_dir, "--listen", "127.0.0.1:0",
                                        "--libvirt", libvirtd.uri], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(lambda p=process: p.poll() is not None or daemon.listening(), 60, f"a start or its refusal ({what})",
                   every=0.002)
        if process.poll() is None:
            started += 1
            daemon.address = daemon.listening()
            api = daemon.client()
            assert api.get("/livez").status == 200
            assert api.get("/v1/vms").status in (200, 401), what  # a token may be what was hit
            assert api.patch("/v1/vms/vm-1", {"description": what}).status in (200, 401, 404, 409, 500, 503), what
            process.terminate()
            assert process.wait(60) in (0, 1), (what, daemon.log()[-3000:])
        else:
            refused += 1
            assert process.returncode == 1, (what, process.returncode, daemon.log()[-3000:])
            assert re.search(r"^<3>.", daemon.log(), re.M), f"no reason is given: {what}"
            assert re.search("drover db|Drover that made it|newer Drover", daemon.log()), (what, daemon.log()[-3000:])
    print(f"{started} starts and {refused} refusals, no crash")
    assert set(libvirtd.virsh("list", "--uuid").split()) == running
    shutil.copy(good, daemon.state_dir / "drover.db")
    daemon.start()
    daemon.wait_ready()
    quiet(daemon.client())
    assert {vm["id"] for vm in vms(daemon.client()) if vm["state"] == "running"} == running & {
        vm["id"] for vm in vms(daemon.client())}
    with copied_database(daemon.state_dir) as copied:
        assert copied.execute("SELECT count(*) FROM vms WHERE deleted_at = 0").fetchone() == (6,)
