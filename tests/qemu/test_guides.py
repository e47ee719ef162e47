"""The documents' examples, run as they stand there: lines that begin with `$`, Python, definitions, and
commands within the text. What cannot run here says why in its fence: ```text not run: WHY. Every Markdown
file of the repository has its row in DOCUMENTS."""
import fnmatch
import os
import re
import subprocess
import sys

import pytest

from rig import BUILD, SLOW, TESTS, eventually

ROOT = TESTS.parent
# How the blocks of each are tried. LINES: here, one after the other; TEXT: it has none that would run; else
# the test that does. Commands within the text are run here, from all of them.
LINES, TEXT = "lines", "text"
DOCUMENTS = {
    **dict.fromkeys(("docs/clients.md", "docs/operating.md", "docs/density.md", "docs/command-line.md", "docs/troubleshooting.md", "docs/ci.md"), LINES),
    **dict.fromkeys(("docs/comparison.md", "docs/limits.md", "deploy/ci/README.md", "ARCHITECTURE.md", "SECURITY.md", "RELIABILITY.md", "deploy/README.md",
                     "deploy/demo-image/README.md", "deploy/proxy/README.md"), TEXT),
    "README.md": "tests/qemu/test_readme.py::test_every_block_is_run",
    "HACKING.md": "tests/qemu/test_guides.py::test_the_developers_daemon_starts",
    "docs/console.md": "tests/qemu/test_guides.py::test_the_consoles_program_works",
    "deploy/prometheus/README.md": "tests/integration/test_history.py::test_promtool_accepts_the_scrape_configuration",
    # A folder's page: what it is for, what it may include.
    "api/*README.md": TEXT, "db/README.md": TEXT, "service/*README.md": TEXT, "tests/*README.md": TEXT, "web/README.md": TEXT,
}
NOT_OURS = {"node_modules", ".git", "build-test", "dist"}
# A smaller VM, and another way to get the image and do the work, than a CI system has.
INSTEAD = {"docs/ci.md": {"--image ci-base --memory 4096 --cpus 2": "--image demo --memory 128 --cpus 1",
                          "--ready 3 --max 12": "--ready 1 --max 1", "make test": "mkdir reports"}}
AFTERWARDS = {"docs/ci.md": ["pool", "delete", "ci"]}
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
    "drover audit list --all -o json": "drover audit list --all -o json", "drover run": "drover help run",
    "drover ci": "drover help ci", "drover project create lab": "drover project create {project}-3",
    "droverd --help": "droverd --help", "droverd --version": "droverd --version", "droverd --dump settings": "droverd --dump settings",
    **dict.fromkeys(("droverd --check-config --config FILE", "droverd --check-config --config /etc/drover/drover.conf"),
                    "droverd --check-config --config /dev/null"),
    "droverd --dump": "droverd --dump routes", "drover vsock": "drover help vsock",
    "droverd --dump routes|errors|settings|metrics": "for what in routes errors settings metrics; do droverd --dump $what; done",
    "drover lease list": "drover lease list", "drover run --image": "drover help run", "drover ci gitlab": "drover help ci gitlab",
    "drover ksm": "drover ksm", "drover ksm density": "drover ksm density", "drover vm list": "drover vm list",
    "drover export": "drover export", "drover quota": "drover help quota show",
}
NOT_RUN = {
    "drover db restore": "puts back the daemon's database; tests/fault/test_database.py does",
    "drover db rebuild": "makes a new database; test_rebuild.py does",
    "drover host check": "its exit status is this host's", "drover display NAME": "goes on until somebody ends it",
    "drover pool show ci": "docs/ci.md's lines do",
    "drover top": "goes on until somebody ends it", "drover console": "goes on until somebody ends it",
    "drover ksm tune auto": "turns the knobs of the host that the test runs on",
    "drover op cancel": "a name, without the operation",
    "drover pool": "lists the family's commands and fails; test_cli_wrong.py does",
    "drover webhook create URL": "a name for the command that docs/operating.md runs",
    **dict.fromkeys(("drover vm stop NAME", "drover vm start NAME"), "the other commands look at a VM that runs"),
    "drover image publish VM NAME": "copies a disk; test_capture.py does", "drover ci garm": "is run by GARM; test_ci.py does",
    **dict.fromkeys(("drover apply", "drover image import", "drover image delete", "drover catalogue"), "a name, without what it takes"),
}


def markdown():
    """Every one below the repository, but for builds and what npm brings."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in NOT_OURS and not (ROOT / folder / f / "build.ninja").exists())
        yield from (os.path.relpath(os.path.join(folder, f), ROOT) for f in sorted(files) if f.endswith(".md"))


def rows(path):
    return [row for row in DOCUMENTS if fnmatch.fnmatch(path, row)]


ALL = [path for path in markdown() if rows(path)]
GUIDES = [path for path in ALL if DOCUMENTS[rows(path)[0]] == LINES]


def fences(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(guide, language):
    return [block for info, block in fences(guide) if info == language]


def within(guide):
    text = re.sub(r"^```.*?^```$", "", (ROOT / guide).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    said = (re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text))
    said = (code.removeprefix("sudo ").removeprefix("build/") for code in said)
    return [code for code in dict.fromkeys(said) if re.match("droverd? ", code)]


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


def test_every_document_has_its_row():
    assert {path: rows(path) for path in markdown() if len(rows(path)) != 1} == {}
    assert [row for row in DOCUMENTS if not fnmatch.filter(ALL, row)] == []
    for path, how in DOCUMENTS.items():
        if how not in (LINES, TEXT):
            file, test = how.split("::")
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), path


@pytest.mark.parametrize("guide", ALL)
def test_what_is_not_run_says_why(guide):
    text, how = (ROOT / guide).read_text(encoding="utf-8"), DOCUMENTS[rows(guide)[0]]
    run = {LINES: {"sh", "python", "yaml"}, TEXT: set()}.get(how, {"", "sh", "python", "yaml"})
    assert not re.search(r"\n\n {4}\S", text), "a block that is only indented says nothing"
    for info, block in fences(guide):
        assert info in run or re.fullmatch(r"text not run: [^`]+", info), (guide, info, block)
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


def test_the_definitions_are_good(environment, tmp_path):
    for guide in GUIDES:
        for number, block in enumerate(blocks(guide, "yaml")):
            (tmp_path / f"{number}.yaml").write_text(block)
            said = run(["drover", "apply", "--dry-run", "-f", f"{number}.yaml"], environment, tmp_path)
            assert said.count(" created (not done") == block.count("kind: "), said


def test_the_developers_daemon_starts(tmp_path):
    """HACKING.md's, on libvirt's test driver; in a folder of its own."""
    (line,) = "".join(blocks("HACKING.md", "sh")).splitlines()
    words = line.removeprefix("$ ").replace("build/", f"{BUILD}/").replace("/tmp/drover", str(tmp_path / "state")).split()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: subprocess.run([BUILD / "drover", "--socket", tmp_path / "state/drover.sock", "vm", "list"],
                                          capture_output=True, timeout=SLOW, check=False).returncode == 0, SLOW, "the daemon")
    finally:
        process.terminate()
        assert process.wait(SLOW) == 0


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
