"""A database that is gone is made again from what libvirt knows."""
import contextlib
import os
import random
import re
import subprocess
import time

from daemon import BUILD, eventually
from invariants import copied_database, database_is_sound, quiet, vms

NAMESPACE = "https://drover.dev/xmlns/vm/1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8qUq0k2uJ5ZC2aVwZ2o1u0bV7bK0pV5QmTq0cQx8Yz me@home"
USER_DATA = "#cloud-config\npassword: 'a secret: \u00e4\u20ac'\n"
FOREIGN = """<domain type='test'><name>foreign</name><memory>8192</memory><os><type>hvm</type></os>
<metadata><drover:vm xmlns:drover='%s' install='%s' id='%s' generation='1'/></metadata></domain>"""


def command(daemon, *words):
    return [BUILD / "drover", "db", *words, "--state-dir", daemon.state_dir,
            *(["--libvirt-uri", daemon.libvirt] if words[0] == "rebuild" else [])]


def db(daemon, *words, good=True):
    done = subprocess.run(command(daemon, *words), capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) == good, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def make(api, name, **more):
    answer = api.post("/v1/vms", {"name": name, "memory_mib": 16, **more})
    assert answer.status == 201, answer
    quiet(api)
    return answer.json["id"]


def image(api, name, data):
    assert api.post("/v1/images", {"name": name, "kind": "disk", "format": "raw"}).status == 201
    assert api.put(f"/v1/images/{name}/content", data).status in (200, 202)
    quiet(api)


def lose(daemon, whole=True):
    """The database and its copies are gone, or one of its pages is and its copies are."""
    for path in daemon.state_dir.glob("backups/*.db"):
        path.unlink()
    for suffix in ("-wal", "-shm"):
        (daemon.state_dir / f"drover.db{suffix}").unlink(missing_ok=True)
    if whole:
        (daemon.state_dir / "drover.db").unlink()
    else:
        with open(daemon.state_dir / "drover.db", "r+b") as file:
            file.write(os.urandom(8192))


def seen(api):
    """What is to come back, by id. An `updated_at` is that of the rebuild, a mark of a boot is not known."""
    gone = ("updated_at", "started_at", "boot", "acceleration_reason", "state_reason", "uptime_seconds", "etag")
    return {vm["id"]: {k: v for k, v in vm.items() if k not in gone} for vm in vms(api)}


def test_vms_come_back_whole(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    image(api, "base", os.urandom(1 << 20))
    project = api.post("/v1/projects", {"name": "tenants"})
    assert project.status == 201, project
    rich = make(api, "rich", start=True, image="base", labels={"team": "\u00fcber <b>&amp;\ufffe", "a/b": ""},
                description="an <a> \u00e4", ssh_keys=[KEY], user_data=USER_DATA, cpus=3, disks=[{"size_gib": 2}],
                channels=["org.example.0"], display=True, autostart=True, ready_pattern="log[i]n:", serial_ports=2,
                on_host_shutdown="save", host_shutdown_seconds=7)
    plain = make(api, "plain")
    other = api.post("/v1/vms", {"name": "plain", "memory_mib": 16, "start": True}, project="tenants")
    assert other.status == 201, other
    eventually(lambda: api.get("/v1/vms/plain", project="tenants").json["state"] == "running", 60, "the tenant's VM")
    before = seen(api)
    assert before[rich]["state"] == "running"
    daemon.stop()
    libvirtd.define(FOREIGN % (NAMESPACE, "a" * 8 + "-0000-4000-8000-000000000001", plain))
    domains, seed = libvirtd.domains(), daemon.state_dir / "vms" / rich / "seed.iso"
    assert "a secret" not in "".join(domains.values()), "user data is nobody's to read in libvirt"
    lose(daemon)
    refused = subprocess.run([BUILD / "droverd", "--state-dir", daemon.state_dir, "--listen", "127.0.0.1:0",
                              "--libvirt", libvirtd.uri], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1 and "drover db rebuild" in refused.stderr, refused
    assert not (daemon.state_dir / "drover.db").exists(), "no empty one is put in its place"
    said = db(daemon, "rebuild")
    assert f"rebuilt: VM rich ({rich}), which runs on, whole" in said, said
    assert f"rebuilt: VM plain ({plain}), whole" in said, said
    assert "3 VMs were rebuilt, 3 of them whole" in said, said
    assert libvirtd.domains() == domains, "domains are read only"
    database_is_sound(daemon.state_dir)
    api = daemon.start().client()
    assert seen(api) == before
    assert api.get("/v1/images/base").json["state"] == "ready"
    tenants = api.get("/v1/vms", project="tenants").json["items"]
    assert [vm["id"] for vm in tenants] == [other.json["id"]]
    # It is managed as before: the disks are those that were there, the seed is written with what was in it.
    assert api.post("/v1/vms/rich/stop").status == 202
    quiet(api)
    assert api.post("/v1/vms/rich/start").status == 202
    quiet(api)
    assert api.get("/v1/vms/rich").json["state"] == "running"
    assert USER_DATA.encode() in seed.read_bytes() and KEY.encode() in seed.read_bytes()
    make(api, "later")
    with copied_database(daemon.state_dir) as copied:
        cids = dict(copied.execute("SELECT vm_id, cid FROM cids"))
    assert len(cids) == len(set(cids.values())) == 4 and sorted(cids.values())[-1] > cids[rich] + 1000
    for name in ("rich", "plain", "later"):
        assert api.delete(f"/v1/vms/{name}", force=True).status == 202
    quiet(api)
    assert set(libvirtd.domains()) == set(domains) - {rich, plain}, "deletion works, the foreign one stays"
    assert not (daemon.state_dir / "vms" / rich).exists()


def test_domains_of_an_older_drover(libvirtd, make_daemon):
    """Without a note: as far as the definition goes, and what is lost is said."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    image(api, "base", os.urandom(1 << 20))
    old = make(api, "old", start=True, image="base", labels={"team": "a"}, cpus=2, memory_mib=32, user_data=USER_DATA,
               disks=[{"size_gib": 1}, {"size_gib": 3}], channels=["org.example.0"], serial_ports=3, display=True,
               description="x <y>")
    new = make(api, "new", image="base", labels={"team": "b"})
    before = seen(api)
    daemon.stop()
    mark = re.search(r"<drover:vm [^>]*>", libvirtd.domains()[old])[0].rstrip("/>")
    mark = re.sub(r"drover:vm|xmlns:drover='[^']*'|xmlns:drover=\"[^\"]*\"", lambda m: "vm" if m[0] == "drover:vm" else "",
                  mark) + "/>"
    for live in ("--config", "--live"):
        libvirtd.virsh("metadata", old, "--uri", NAMESPACE, "--key", "drover", "--set", mark, live)
    assert "note" not in libvirtd.domains()[old]
    lose(daemon, whole=False)
    assert "drover db rebuild" in db(daemon, "check", good=False)
    said = db(daemon, "rebuild")
    assert "lost: " in said and "labels" in said and "2 VMs were rebuilt, 1 of them whole" in said, said
    assert list(daemon.state_dir.glob("drover.db.before-*")), "the damaged one is kept"
    api = daemon.start().client()
    after = seen(api)
    assert after[new] == before[new]
    known = ("name", "state", "cpus", "memory_mib", "description", "disks", "networks", "channels", "serial_ports",
             "display", "guest_agent", "firmware", "image", "image_id", "generation")
    assert {k: after[old][k] for k in known if k in after[old]} == {k: before[old][k] for k in known if k in before[old]}
    for verb in ("stop", "start"):
        assert api.post(f"/v1/vms/old/{verb}").status == 202
        quiet(api)
    assert api.get("/v1/vms/old").json["state"] == "running"
    assert after[old]["has_user_data"], "it was on the seed"


def test_it_is_refused_where_it_would_lose_something(libvirtd, make_daemon):
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    kept = make(daemon.client(), "kept", start=True)
    assert "Stop droverd first" in db(daemon, "rebuild", good=False)
    assert "Stop droverd first" in db(daemon, "rebuild", "--force", good=False)
    daemon.stop()
    before = (daemon.state_dir / "drover.db").read_bytes()
    assert "--force" in db(daemon, "rebuild", good=False)
    db(daemon, "backup")
    (daemon.state_dir / "drover.db").rename(daemon.state_dir / "aside")
    assert "drover db restore" in db(daemon, "rebuild", good=False), "a copy has more than libvirt"
    (daemon.state_dir / "aside").rename(daemon.state_dir / "drover.db")
    lose(daemon, whole=False)
    broken = (daemon.state_dir / "drover.db").read_bytes()
    assert "installation id is a UUID" in db(daemon, "rebuild", "--install-id", "mine", good=False)
    assert (daemon.state_dir / "drover.db").read_bytes() == broken != before
    db(daemon, "rebuild")
    assert "--force" in db(daemon, "rebuild", good=False), "it is whole again"
    db(daemon, "rebuild", "--force")
    assert [(vm["id"], vm["state"]) for vm in vms(daemon.start().client())] == [(kept, "running")]


def test_a_rebuild_that_is_killed(libvirtd, make_daemon, rng: random.Random, long):
    """At any moment: the damaged one or the new one is there, and the next attempt succeeds."""
    daemon = make_daemon(libvirt=libvirtd.uri).start()
    api = daemon.client()
    for n in range(3):
        make(api, f"vm-{n}", start=n == 0)
    before = seen(api)
    daemon.stop()
    domains = libvirtd.domains()
    lose(daemon, whole=False)
    began = time.monotonic()
    db(daemon, "rebuild")
    takes = time.monotonic() - began
    for _ in range(4 * long):
        lose(daemon, whole=False)
        with subprocess.Popen(command(daemon, "rebuild"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the moment is what the test is about
                process.wait(rng.uniform(0, takes))
            process.kill()
        if subprocess.run(command(daemon, "check"), capture_output=True, check=False).returncode:
            db(daemon, "rebuild")
        database_is_sound(daemon.state_dir)
    assert not list(daemon.state_dir.glob("drover.db.rebuilding*")) or db(daemon, "rebuild", "--force")
    assert libvirtd.domains() == domains
    assert seen(daemon.start().client()) == before


def test_damage_that_is_met_at_run_time(libvirtd, make_daemon):
    """Told in words, in the answer and in /readyz, also when a later write succeeds; then it is mended as it says."""
    daemon = make_daemon(libvirt=libvirtd.uri, ready=False).start()
    daemon.wait_ready()
    kept = make(daemon.client(), "kept", start=True, labels={"a": "b"})
    before = seen(daemon.client())
    daemon.stop()
    daemon.start()  # with nothing in its caches but what it needed
    daemon.wait_ready()
    api = daemon.client()
    quiet(api)
    size = (daemon.state_dir / "drover.db").stat().st_size
    with open(daemon.state_dir / "drover.db", "r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(bytes([255]) * 4096)

    def met():
        made = api.post("/v1/vms", {"name": f"vm-{time.monotonic_ns()}", "memory_mib": 16})
        answers = [made, *(api.get(path) for path in ("/v1/events", "/v1/operations", "/v1/recordings", "/v1/leases"))]
        assert all(a.status in (200, 201, 500, 503) for a in answers), answers
        return next((a for a in answers if a.status == 503 and "damaged" in a.json["detail"]), None)
    answer = eventually(met, 60, "the damage is met")
    assert answer.json["code"] == "database-failed" and "drover db rebuild" in answer.json["remedy"], answer
    assert api.get("/livez").status == 200
    assert [vm["state"] for vm in vms(api) if vm["id"] == kept] == ["running"], "what is in memory is still shown"
    ready = api.get("/readyz")
    assert ready.status == 503 and "drover db check" in ready.text and "drover db rebuild" in ready.text, ready.text
    daemon.kill9()
    lose(daemon, whole=False)
    assert "left alone" not in db(daemon, "rebuild")
    api = daemon.start().client()
    daemon.wait_ready()
    assert seen(api)[kept] == before[kept]
