"""The documents' examples, run as they stand there: lines that begin with `$`, Python, and commands
within the text. What cannot run here says why in its fence: ```text not run: WHY."""
import os
import re
import subprocess
import sys

import pytest

from rig import BUILD, SLOW, TESTS, eventually

ROOT = TESTS.parent
GUIDES = ("docs/clients.md", "docs/operating.md", "docs/density.md", "docs/command-line.md", "deploy/ci/README.md")
ALL = (*GUIDES, "docs/console.md", "docs/troubleshooting.md", "docs/comparison.md", "deploy/README.md")
# A smaller VM, and another way to get the image and do the work, than a CI system has.
INSTEAD = {"deploy/ci/README.md": {"--image ci-base --memory 4096 --cpus 2": "--image demo --memory 128 --cpus 1",
                                   "--ready 3 --max 12": "--ready 1 --max 1", "make test": "mkdir reports"}}
AFTERWARDS = {"deploy/ci/README.md": ["pool", "delete", "ci"]}
# Within the text: what to type, {vm} being a VM that runs and {project} a project; or why not.
WITHIN = {
    "drover vm timeline NAME": "drover vm timeline {vm}", "drover vm log NAME": "drover vm log {vm}",
    "drover screenshot NAME": "drover screenshot {vm}", "drover vm agent NAME": "drover vm agent {vm}",
    "drover project set NAME --merge": "drover project set {project} --merge",
    "drover project set NAME --merge-with OTHER": "drover project set {project} --merge-with default",
    "drover project create lab --merge --merge-with default": "drover project create {project}-2 --merge --merge-with default",
    "drover vm set web-1 cpus=4 labels.tier=db": "drover vm set {vm} cpus=4 labels.tier=db",
    "drover export [KIND [NAME…]]": "drover export vm {vm}", "drover export > herd.yaml": "drover export > herd.yaml",
    "drover diff -f FILE": "drover diff -f FILE", "drover diff": "drover diff -f FILE", "drover apply -f FILE": "drover apply -f FILE",
    "drover apply --dry-run": "drover apply --dry-run -f FILE", "drover help COMMAND": "drover help apply",
    "drover login-link": "drover login-link", "drover help run": "drover help run", "drover help": "drover help",
    "drover db backup": 'drover db backup --state-dir "$DROVER_STATE_DIR"', "drover quota show": "drover quota show",
    "drover ksm": "drover ksm", "drover ksm density": "drover ksm density", "drover vm list": "drover vm list",
    "drover export": "drover export", "drover quota": "drover help quota show",
}
NOT_RUN = {
    "drover host check": "its exit status is this host's", "drover display NAME": "goes on until somebody ends it",
    "drover top": "goes on until somebody ends it", "drover console": "goes on until somebody ends it",
    "drover ksm tune auto": "turns the knobs of the host that the test runs on",
    "drover op cancel": "a name, without the operation",
    "drover pool": "lists the family's commands and fails; test_cli_wrong.py does",
    "drover webhook create URL": "a name for the command that docs/operating.md runs",
    **dict.fromkeys(("drover vm stop NAME", "drover vm start NAME"), "the other commands look at a VM that runs"),
    "drover image publish VM NAME": "copies a disk; test_capture.py does", "drover ci garm": "is run by GARM; test_ci.py does",
    **dict.fromkeys(("drover apply", "drover image import", "drover image delete", "drover catalogue", "drover run",
                     "drover ci"), "a name, without what it takes"),
}


def fences(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(guide, language):
    return [block for info, block in fences(guide) if info == language]


def within(guide):
    text = re.sub(r"^```.*?^```$", "", (ROOT / guide).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    said = (re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text))
    return [code for code in dict.fromkeys(said) if code.startswith("drover ")]


@pytest.fixture(scope="module")
def environment(rig, demo_image, tmp_path_factory):
    rig.ensure_image("demo")
    return {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "DROVER_URL": rig.url,
            "HOME": str(tmp_path_factory.mktemp("home")), "DROVER_TOKEN": rig.admin_token(),
            "DROVER_STATE_DIR": str(rig.state_dir)}


def run(command, environment, where):
    done = subprocess.run(command, env=environment, cwd=where, capture_output=True, text=True, timeout=2 * SLOW,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, (command[-1], done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("guide", ALL)
def test_what_is_not_run_says_why(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    assert not re.search(r"\n\n {4}\S", text), "a block that is only indented says nothing"
    for info, block in fences(guide):
        assert info in ("sh", "python", "yaml") or re.fullmatch(r"text not run: [^`]+", info), (guide, info, block)
        if info.startswith("text "):
            print(f"{guide}: {info.removeprefix('text ')}:\n{block}")
    for code in within(guide):
        assert (code in WITHIN) != (code in NOT_RUN), (guide, code)
        if code in NOT_RUN:
            print(f"{guide}: not run: {NOT_RUN[code]}: {code}")


@pytest.mark.parametrize("guide", GUIDES)
def test_every_line_works(rig, environment, guide, tmp_path):
    def vms():
        return {vm["name"] for vm in rig.api.get("/v1/vms").json["items"]}

    before = vms()
    lines = [line for block in blocks(guide, "sh") for line in block.splitlines()]
    assert len(lines) > 2 and all(line.startswith("$ ") for line in lines), lines
    (tmp_path / "lab.token").write_text("0" * 32)
    (tmp_path / "lab.token").chmod(0o600)
    for line in lines:
        for words, smaller in INSTEAD.get(guide, {}).items():
            line = line.replace(words, smaller)
        if " exec " in line:  # the agent may be a moment later than the console
            run(["drover", "vm", "wait", "web-1", "--for", "agent"], environment, tmp_path)
        run(["bash", "-c", line.removeprefix("$ ")], environment, tmp_path)
    if guide in AFTERWARDS:
        run(["drover", *AFTERWARDS[guide]], environment, tmp_path)
    eventually(lambda: vms() == before, SLOW, "the guide takes away what it made")


def test_every_command_within_the_text_works(rig, environment, tmp_path):
    vm = rig.create(vsock=False, display=True, wait="console")["name"]
    run(["drover", "project", "create", "within"], environment, tmp_path)
    run(["bash", "-c", "drover export > FILE"], environment, tmp_path)
    try:
        for code in dict.fromkeys(code for guide in ALL for code in within(guide) if code in WITHIN):
            run(["bash", "-c", WITHIN[code].format(vm=vm, project="within")], environment, tmp_path)
    finally:
        for name in [p["name"] for p in rig.api.get("/v1/projects").json["items"] if p["name"].startswith("within")]:
            run(["drover", "project", "rm", name], environment, tmp_path)


def test_the_python_program_works(environment, tmp_path):
    (program,) = blocks("docs/clients.md", "python")
    said = run([sys.executable, "-c", program], environment, tmp_path)
    assert said == "docs-once active\n0 Linux\n"


def test_the_consoles_program_works(rig, environment, tmp_path):
    vm = rig.create(wait="console")["name"]
    (program,) = blocks("docs/console.md", "python")
    said = run(["/usr/bin/python3", "-c", program], {**environment, "VM": vm}, tmp_path)
    seen, more = map(int, re.fullmatch(r"(\d+) bytes, then (\d+) more\n", said).groups())
    assert seen > 0 and more > 0
