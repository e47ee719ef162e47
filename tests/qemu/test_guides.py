"""The guides' examples, run as they stand there: lines that begin with `$`, and Python."""
import os
import re
import subprocess
import sys

import pytest

from rig import BUILD, SLOW, TESTS

GUIDES = ("clients", "operating", "density")


def blocks(guide, language):
    text = (TESTS.parent / f"docs/{guide}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def environment(rig, demo_image):
    rig.ensure_image("demo")
    return {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "DROVER_URL": rig.url,
            "DROVER_TOKEN": rig.admin_token(), "DROVER_STATE_DIR": str(rig.state_dir)}


def run(command, environment, where):
    done = subprocess.run(command, env=environment, cwd=where, capture_output=True, text=True, timeout=2 * SLOW,
                          check=False)
    assert done.returncode == 0, (command[-1], done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("guide", GUIDES)
def test_every_line_works(rig, environment, guide, tmp_path):
    before = {vm["name"] for vm in rig.api.get("/v1/vms").json["items"]}
    lines = [line for block in blocks(guide, "sh") for line in block.splitlines()]
    assert len(lines) > 5 and all(line.startswith("$ ") for line in lines), lines
    for line in lines:
        if " exec " in line:  # the agent may be a moment later than the console
            run(["drover", "vm", "wait", "web-1", "--for", "agent"], environment, tmp_path)
        run(["bash", "-c", line.removeprefix("$ ")], environment, tmp_path)
    assert {vm["name"] for vm in rig.api.get("/v1/vms").json["items"]} == before, "the guide takes away what it made"


def test_the_python_program_works(environment, tmp_path):
    (program,) = blocks("clients", "python")
    said = run([sys.executable, "-c", program], environment, tmp_path)
    assert said == "docs-once active\n0 Linux\n"
