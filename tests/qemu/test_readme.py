"""README.md's commands, typed in as they stand there, in their order."""
import os
import re
import shlex
import subprocess

import pytest

from rig import BUILD, SLOW, TESTS, eventually

# These go on until somebody ends them; each has a test of its own.
ENDLESS = ("console hello", "vm list --watch", "events --follow")


def blocks():
    text = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def first_five_minutes():
    block = next(b for b in blocks() if "drover console hello" in b)
    return [re.split(r"\s+#", line)[0].removeprefix("sudo build/drover ") for line in block.splitlines()]


@pytest.fixture(scope="module")
def newcomer(rig, demo_image, tmp_path_factory):
    """What deploy/quickstart leaves: the image demo and the VM hello. Commands run in a small folder."""
    rig.create("demo", name="hello", memory_mib=128, guest_agent=True, wait="console")
    here = tmp_path_factory.mktemp("here")
    (here / "a-file").write_text("something to copy\n")
    return here


def test_every_command_works(rig, newcomer):
    done = {}
    commands = first_five_minutes()
    assert len(commands) > 12 and set(ENDLESS) <= set(commands)
    for command in (c for c in commands if c not in ENDLESS):
        answer = subprocess.run([BUILD / "drover", "--socket", rig.socket_path, *shlex.split(command)],
                                capture_output=True, timeout=SLOW, cwd=newcomer, check=False)
        assert answer.returncode == 0, (command, answer)
        done[command] = answer.stdout.decode()
        if command.startswith("vm create"):
            # The agent may be a moment later than the console.
            subprocess.run([BUILD / "drover", "--socket", rig.socket_path, "vm", "wait", "web-1", "--for", "agent"],
                           check=True, timeout=SLOW)
    assert "#share=" in done["share hello --for 2h"]
    assert done["exec web-1 -- uname -a"].startswith("Linux ")
    assert "a-file" in done["run --image demo --copy . -- ls"]
    for name in ("ci", "course"):
        kind = "pool" if name == "ci" else "set"
        subprocess.run([BUILD / "drover", "--socket", rig.socket_path, kind, "delete", name],
                       check=True, timeout=SLOW)
    eventually(lambda: [v["name"] for v in rig.api.get("/v1/vms").json["items"] if not v["lease_id"]] == ["hello"], SLOW,
               "what is left")


def test_every_block_is_run():
    """deploy/quickstart is what tests/run's suite of that name runs, and tests/run is what runs this."""
    begin = [block.split()[1] if block.startswith("sudo ") else block for block in blocks()]
    assert begin == ["deploy/quickstart", "tests/run", *["build/drover"] * 3], begin


def shell(rig, where, block, **more):
    """The block's lines in one shell, with the admin's token where root would need none; what they print."""
    script = block.replace("sudo build/drover", "drover").replace("build/drover", "drover")
    script = script.replace("http://127.0.0.1:8460", rig.url).replace("https://lab.example.org", rig.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl -sS --fail-with-body ")],
                          env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "HOME": str(where),
                               "DROVER_URL": rig.url, "DROVER_TOKEN": rig.admin_token(), **more},
                          cwd=where, capture_output=True, text=True, timeout=2 * SLOW, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, (block, done.stdout, done.stderr)
    return done.stdout


def test_from_elsewhere(rig, newcomer, tmp_path):
    make, _, ask = next(b for b in blocks() if "curl" in b).partition("\n")
    token = re.search(r"drover_\S+", shell(rig, tmp_path, make))[0]
    said = shell(rig, tmp_path, ask, TOKEN=token)
    assert '"hello"' in said and '"job-4711"' in said
    shell(rig, tmp_path, "drover vm delete job-4711 --force")
    (made,) = [t for t in rig.api.get("/v1/tokens").json["items"] if t["name"] == "ci"]
    assert rig.api.delete(f"/v1/tokens/{made['id']}").status == 204


def test_files_and_another_server(rig, newcomer, tmp_path):
    (tmp_path / "token").write_text(rig.admin_token())
    (tmp_path / "token").chmod(0o600)
    said = shell(rig, tmp_path, next(b for b in blocks() if "herd.yaml" in b))
    assert "hello" in (tmp_path / "herd.yaml").read_text() and "hello" in said and "unchanged" in said
    assert not re.search(r"\b(created|changed)\b", said), said
