"""README.md's first five minutes, typed in as they stand there, in their order."""
import re
import shlex
import subprocess

import pytest

from rig import BUILD, SLOW, TESTS, eventually

# These go on until somebody ends them; each has a test of its own.
ENDLESS = ("console hello", "vm list --watch", "events --follow")


def first_five_minutes():
    text = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## The first five minutes\n+```\n(.*?)```", text, re.DOTALL)[1]
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
