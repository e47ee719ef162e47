"""The guest agent of a real guest: Debian's own qemu-ga in the demo image, booted once. The tests of
this file are in the order in which they use the guest."""
import base64
import hashlib
import os
import re
import subprocess
import threading
import time

import pytest

from rig import BUILD, SLOW, eventually

KEY = f"ssh-ed25519 {'A' * 68} it's \"me\" <x>"


@pytest.fixture(scope="module")
def guest(rig, demo_image):
    made = rig.create("demo", name="inside", memory_mib=128, networks=[{"mode": "user"}], ssh_keys=[KEY], wait="running")["id"]
    early = rig.api.get(f"/v1/vms/{made}/agent")
    assert early.status == 200 and early.json["state"] in ("not_ready", "ready"), early
    if early.json["state"] == "not_ready":
        assert early.json["reason"] == "no contact yet"
    ready(rig, made)
    return made


def agent(rig, vm):
    answer = rig.api.get(f"/v1/vms/{vm}/agent")
    assert answer.status == 200, answer
    return answer.json


def ready(rig, vm):
    return eventually(lambda: a if (a := agent(rig, vm))["state"] == "ready" else None, SLOW, "the agent answers")


def run(rig, vm, *argv, **more):
    answer = rig.api.post(f"/v1/vms/{vm}/exec", {"argv": list(argv), **more}, patience=SLOW)
    assert answer.status == 200, answer
    return answer.json


def put(rig, vm, path, data, query=""):
    return rig.api.put(f"/v1/vms/{vm}/files?path={path}{query}", data, patience=SLOW)


def get(rig, vm, path):
    return rig.api.get(f"/v1/vms/{vm}/files?path={path}", patience=SLOW)


def test_it_says_who_is_in_there(rig, guest):
    told = ready(rig, guest)
    assert told["hostname"] == "demo" and told["version"].startswith("7.")
    assert told["os"]["kernel"] and told["os"]["architecture"] == "x86_64"
    assert told["users"] == [] and told["filesystems"] == []
    mac = rig.vm(guest)["networks"][0]["mac"]
    assert mac in [n["mac"] for n in told["interfaces"]]
    assert told["last_contact_at"]


def test_addresses_come_from_the_agent(rig, guest):
    def look():
        items = rig.api.get(f"/v1/vms/{guest}/addresses").json["items"]
        return [a for a in items if a["address"] == "10.0.2.15"]
    found = eventually(look, SLOW, "an address")[0]
    assert found["source"] == "agent" and found["interface"] == "eth0" and found["family"] == "ipv4"
    assert found["prefix"] == 24


def test_exit_code_and_both_outputs(rig, guest):
    told = run(rig, guest, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (told["exit_code"], told["signal"], told["stdout"], told["stderr"]) == (3, None, "out\n", "err\n")
    assert not told["timed_out"] and not told["stdout_truncated"] and not told["stderr_truncated"]


def test_a_signal_is_not_an_exit_code(rig, guest):
    told = run(rig, guest, "sh", "-c", "kill -TERM $$")
    assert (told["exit_code"], told["signal"], told["timed_out"]) == (None, 15, False)


def test_stdin_and_environment(rig, guest):
    assert run(rig, guest, "cat", stdin="zwölf\n\"'$")["stdout"] == "zwölf\n\"'$"
    assert run(rig, guest, "cat", stdin_base64="AP8=")["stdout"] == "AP8="
    assert run(rig, guest, "cat", stdin_base64="AP8=")["stdout_encoding"] == "base64"
    told = run(rig, guest, "/bin/env", environment={"A": "b c", "EMPTY": ""})
    assert sorted(told["stdout"].splitlines()) == ["A=b c", "EMPTY="]


def test_arguments_are_not_for_a_shell(rig, guest):
    assert run(rig, guest, "echo", "$HOME", "`id`", "a  b", ";", "ü\n")["stdout"] == "$HOME `id` a  b ; ü\n\n"


def test_a_program_that_takes_too_long_is_killed(rig, guest):
    begun = time.monotonic()
    told = run(rig, guest, "sh", "-c", "echo begun; sleep 1000; echo never", timeout_seconds=1)
    assert told["timed_out"] and told["signal"] == 9 and told["exit_code"] is None
    assert told["stdout"] == "begun\n" and time.monotonic() - begun < 60
    eventually(lambda: "sleep 1000" not in run(rig, guest, "ps")["stdout"], SLOW, "the end of what it began")


def test_long_output_is_cut_and_says_so(rig, guest):
    told = run(rig, guest, "sh", "-c", "head -c 1500000 /dev/zero | tr '\\0' x; echo end >&2", timeout_seconds=120)
    assert told["stdout"] == "x" * (1 << 20) and told["stdout_truncated"]
    assert told["stderr"] == "end\n" and not told["stderr_truncated"]


def test_a_program_that_is_not_there(rig, guest):
    answer = rig.api.post(f"/v1/vms/{guest}/exec", {"argv": ["/nonexistent"]})
    assert answer.status == 502 and answer.code == "agent-failed"
    assert "No such file" in answer.json["detail"]


def test_steps_stop_at_the_first_that_fails(rig, guest):
    steps = [{"argv": ["echo", "1"]}, {"argv": ["false"]}, {"argv": ["echo", "3"]}]
    told = rig.api.post(f"/v1/vms/{guest}/exec", {"steps": steps}, patience=SLOW).json
    assert not told["succeeded"]
    assert [r["state"] for r in told["results"]] == ["ran", "ran", "skipped"]
    assert [r["exit_code"] for r in told["results"]] == [0, 1, None]
    told = rig.api.post(f"/v1/vms/{guest}/exec", {"steps": steps, "keep_going": True}, patience=SLOW).json
    assert [r["stdout"] for r in told["results"]] == ["1\n", "", "3\n"] and not told["succeeded"]
    told = rig.api.post(f"/v1/vms/{guest}/exec", {"steps": steps[:1]}, patience=SLOW).json
    assert told["succeeded"] and len(told["results"]) == 1


def test_several_at_the_same_time(rig, guest):
    told = {}

    def one(i):
        told[i] = run(rig, guest, "sh", "-c", f"sleep 1; echo {i}", timeout_seconds=90)["stdout"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert told == {i: f"{i}\n" for i in range(5)}


def test_a_file_goes_in_and_comes_out(rig, guest):
    data = os.urandom(700_001)
    answer = put(rig, guest, "/tmp/random", data, "&mode=0640")
    assert answer.status == 200 and answer.json == {"path": "/tmp/random", "size_bytes": len(data)}, answer
    told = run(rig, guest, "sha256sum", "/tmp/random", timeout_seconds=90)
    assert told["stdout"].split()[0] == hashlib.sha256(data).hexdigest()
    assert run(rig, guest, "stat", "-c", "%a", "/tmp/random")["stdout"] == "640\n"
    back = get(rig, guest, "/tmp/random")
    assert back.status == 200 and back.body == data
    assert put(rig, guest, "/tmp/random", b"").status == 200
    assert get(rig, guest, "/tmp/random").body == b""


def test_a_file_without_a_size_comes_out_too(rig, guest):
    assert b"MemTotal" in get(rig, guest, "/proc/meminfo").body


def drover(rig, *words, **kw):
    return subprocess.run([BUILD / "drover", "--url", rig.url, *words], env={**os.environ, "DROVER_TOKEN": rig.admin_token()},
                          capture_output=True, timeout=SLOW, **kw)


def test_the_command_line_runs_programs(rig, guest):
    done = drover(rig, "exec", guest, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    done = drover(rig, "exec", "-i", "-e", "A=b", guest, "--", "/bin/sh", "-c", "/bin/cat; echo $A", input=b"\x00\xffin")
    assert (done.returncode, done.stdout) == (0, b"\x00\xffinb\n")
    assert drover(rig, "exec", guest, "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert drover(rig, "exec", "--timeout", "1", guest, "sleep", "100").returncode == 124


def test_the_command_line_copies_files(rig, guest, tmp_path):
    data = os.urandom(100_000)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(data)
    source.chmod(0o751)
    assert drover(rig, "cp", str(source), f"{guest}:/tmp/copied").returncode == 0
    assert run(rig, guest, "stat", "-c", "%a", "/tmp/copied")["stdout"] == "751\n"
    assert drover(rig, "cp", f"{guest}:/tmp/copied", str(back)).returncode == 0
    assert back.read_bytes() == data
    # Into folders, under its own name.
    assert drover(rig, "cp", str(source), f"{guest}:/tmp/").returncode == 0
    (tmp_path / "folder").mkdir()
    assert drover(rig, "cp", f"{guest}:/tmp/source", str(tmp_path / "folder")).returncode == 0
    assert (tmp_path / "folder/source").read_bytes() == data
    failed = drover(rig, "cp", f"{guest}:/nope", str(tmp_path / "none"))
    assert failed.returncode == 4 and not (tmp_path / "none").exists()
    assert drover(rig, "cp", str(source), str(back)).returncode == 2
    assert b"10.0.2.15" in drover(rig, "vm", "addresses", guest).stdout
    assert drover(rig, "vm", "wait", guest, "--for", "agent").returncode == 0


def test_waiting_for_what_is_printed(rig, guest):
    wait = f"/v1/vms/{guest}/wait"
    assert rig.api.get(wait, pattern=r"^root@demo:~# ", timeout=60, patience=90).status == 200
    with rig.console(guest) as c:
        c.send(b"echo sum-$((40 + 2))\n")
        assert rig.api.get(wait, pattern=r"^sum-\d\d\r?$", timeout=60, patience=90).status == 200
    assert rig.api.get(wait, **{"for": "ip"}, timeout=60, patience=90).status == 200
    answer = rig.api.get(wait, pattern="never printed", timeout=1)
    assert answer.status == 504 and answer.code == "timeout"


def test_files_that_are_not_there(rig, guest):
    answer = get(rig, guest, "/nope")
    assert answer.status == 404 and answer.code == "guest-file-not-found" and answer.json["pointer"] == "path"
    assert put(rig, guest, "/nope/nope", b"x").status == 404
    answer = get(rig, guest, "/tmp")
    assert answer.status == 502 and "directory" in answer.json["detail"]


def test_the_clock_is_set(rig, guest):
    run(rig, guest, "date", "-s", "2001-01-01 00:00:00")
    assert rig.api.post(f"/v1/vms/{guest}/agent/time").status == 204
    assert abs(int(run(rig, guest, "date", "+%s")["stdout"]) - time.time()) < 30


def test_keys_are_let_in(rig, guest):
    first, second = (f"ssh-ed25519 {c * 68} me@example.org" for c in "Ab")
    keys = f"/v1/vms/{guest}/agent/ssh-keys"
    assert rig.api.post(keys, {"user": "root", "keys": [first]}).status == 204
    assert rig.api.post(keys, {"user": "root", "keys": [second]}).status == 204
    assert run(rig, guest, "cat", "/root/.ssh/authorized_keys")["stdout"].splitlines() == [first, second]
    assert rig.api.post(keys, {"user": "root", "keys": [second], "replace": True}).status == 204
    assert run(rig, guest, "cat", "/root/.ssh/authorized_keys")["stdout"].splitlines() == [second]


def test_a_guest_that_knows_credentials_finds_its_keys(rig, guest):
    """Where systemd looks: among the firmware's strings, of type 11."""
    table = base64.b64decode(run(rig, guest, "base64", "/sys/firmware/dmi/tables/DMI")["stdout"])
    found = re.search(rb"io\.systemd\.credential\.binary:ssh\.authorized_keys\.root=([^\0]*)\0", table)
    assert base64.b64decode(found[1]).decode() == KEY + "\n"


def test_what_the_guest_cannot_do_is_its_own_words(rig, guest):
    answer = rig.api.post(f"/v1/vms/{guest}/agent/password", {"user": "root", "password": "hidden-word"})
    assert answer.status == 502 and answer.code == "agent-failed" and "hidden-word" not in answer.text
    assert "hidden-word" not in rig.log()


def test_a_password_is_set(rig, guest):
    """The demo guest has no chpasswd, which the agent calls; this one keeps what it was told."""
    tell = b"#!/bin/sh\n{ printf '%s\\n' \"$*\"; cat; } >/tmp/told\n"
    assert put(rig, guest, "/bin/chpasswd", tell, "&mode=0755").status == 200
    for more, options in (({}, ""), ({"crypted": True}, "-e")):
        secret = "hidden: wörd 'in' \"quotes\" $HOME \\"
        answer = rig.api.post(f"/v1/vms/{guest}/agent/password", {"user": "root", "password": secret, **more})
        assert answer.status == 204, answer
        assert run(rig, guest, "cat", "/tmp/told")["stdout"] == f"{options}\nroot:{secret}\n"
    assert "hidden" not in rig.log()


def test_freeze_and_thaw(rig, guest):
    frozen = rig.api.post(f"/v1/vms/{guest}/agent/freeze", {"seconds": 60})
    assert frozen.status == 200 and frozen.json["filesystems"] == 0, frozen  # all is in memory there
    assert rig.api.post(f"/v1/vms/{guest}/agent/thaw").json == {"filesystems": 0}
    assert rig.api.post(f"/v1/vms/{guest}/agent/freeze", {"seconds": 1}).status == 200
    eventually(lambda: rig.events(guest, "vm.thawed")[1:], SLOW, "the thaw that nobody asked for")
    assert run(rig, guest, "true")["exit_code"] == 0


def test_the_daemon_comes_back_and_finds_the_agent(rig, guest):
    rig.stop()
    rig.start()
    assert ready(rig, guest)["hostname"] == "demo"
    assert run(rig, guest, "echo", "again")["stdout"] == "again\n"


def test_a_restored_guest_has_the_time(rig, guest):
    rig.act(guest, "save")
    assert agent(rig, guest)["state"] == "off"
    rig.act(guest, "start")
    ready(rig, guest)
    eventually(lambda: abs(int(run(rig, guest, "date", "+%s")["stdout"]) - time.time()) < 2, SLOW, "the right time",
               every=0.5)


def test_a_paused_guest_is_not_asked(rig, guest):
    rig.act(guest, "pause")
    answer = rig.api.post(f"/v1/vms/{guest}/exec", {"argv": ["true"]})
    assert answer.status == 409 and answer.code == "vm-state-conflict" and answer.json["remedy"]
    rig.act(guest, "resume")
    assert run(rig, guest, "true")["exit_code"] == 0


def test_an_agent_that_is_gone_is_noticed(rig, guest):
    """Killed and kept from coming back: the guest's own doing, as far as the host can tell."""
    run(rig, guest, "sh", "-c", "rm /bin/agent; (sleep 1; killall qemu-ga) >/dev/null 2>&1 &")
    told = eventually(lambda: a if (a := agent(rig, guest))["state"] == "degraded" else None, SLOW, "degraded")
    assert told["reason"]
    answer = rig.api.post(f"/v1/vms/{guest}/exec", {"argv": ["true"]})
    assert answer.status in (409, 504), answer


def test_power_off_goes_through_the_power_button_then(rig, guest):
    rig.act(guest, "shutdown")
    assert rig.vm(guest)["state"] == "stopped"


def test_shutdown_goes_through_the_agent(rig, demo_image):
    vm = rig.create("demo", memory_mib=96, wait="agent")["id"]
    assert agent(rig, vm)["state"] == "ready"
    assert run(rig, vm, "sh", "-c", "rm /etc/acpi/PWRF/*")["exit_code"] == 0  # the power button is dead
    rig.act(vm, "shutdown")
    assert rig.vm(vm)["state"] == "stopped"
