"""drover's completion, as bash runs it (and zsh and fish, where they are installed)."""
import contextlib
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import termios
import threading
import time

import pytest
from fake_server import FakeServer
from test_cli import DROVER, daemon, drover  # noqa: F401

HARNESS = r"""
source <("$DROVER" completion bash)
compopt() { :; }
COMP_LINE=$1 COMP_POINT=${#1}
# As readline splits: at spaces, and = and : are words of their own.
read -r -d '' -a COMP_WORDS < <(sed -E 's/([=:]+)/ \1 /g' <<<"$1")
[[ $1 != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_drover "$DROVER" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(daemon, tmp_path):  # noqa: F811
    """complete("vm st") is what bash offers."""

    def run(line, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        for _ in range(3):
            began = time.monotonic()
            done = subprocess.run(["bash", "-c", HARNESS, "bash", f"drover {line}"], capture_output=True, timeout=60, cwd=tmp_path,
                                  env={**clean, "DROVER": str(DROVER), "HOME": str(tmp_path),
                                       "DROVER_STATE_DIR": str(daemon.state_dir), **env}, check=True)
            assert done.stderr == b""
            # A server gets a second to answer: where it did not on a busy machine, it is asked again.
            if done.stdout.strip() or time.monotonic() - began < 1:
                break
        return sorted(done.stdout.decode().split())

    return run


@pytest.fixture(scope="module", autouse=True)
def things(daemon, tmp_path_factory):  # noqa: F811
    run = drover.__wrapped__(daemon)
    file = tmp_path_factory.mktemp("cli") / "disk"
    file.write_bytes(bytes(1 << 20))
    run("vm", "create", "web-1", "--no-vsock")
    run("vm", "create", "web-2", "--no-vsock")
    run("vm", "create", "db", "--no-vsock")
    run("image", "create", "sector", "--format", "raw", "--file", str(file))
    run("image", "label", "base", "sector")
    run("pool", "put", "herd", "--memory", "64", "--ready", "0")


def test_words_of_commands(complete):
    assert complete("v") == ["version", "vm", "vsock"]
    assert complete("vm st") == ["start", "stop"]
    assert {"list", "show", "create", "start"} <= set(complete("vm "))
    assert complete("--json vm st") == ["start", "stop"]
    assert complete("-o json vm st") == ["start", "stop"]
    assert complete("help im") == ["image"] and "list" in complete("help image ")
    assert not [w for w in complete("") if w.startswith("_")]


def test_options_and_their_values(complete):
    assert complete("vm list --st") == ["--state="]
    assert complete("vm list --state ru") == complete("vm list --state=ru") == ["running"]
    assert complete("-o ") == complete("vm list --output=") == ["json", "name", "table", "yaml"]
    assert complete("vm create x --wait r") == ["ready", "running"]
    assert complete("recording auto web-1 ") == ["off", "on"] and complete("ksm tune s") == ["static"]
    assert "--no-wait" in complete("vm start --") and "--help" in complete("vm start --")
    assert complete("vm start -- --") == []


def test_names_come_from_the_server(complete, drover):  # noqa: F811
    assert complete("vm start w") == complete("console w") == ["web-1", "web-2"]
    assert complete("vm start ") == ["db", "web-1", "web-2"]
    assert complete("vm start web-1 ") == []
    assert complete("vm create x --image ") == complete("vm create x -i s") == ["sector"]
    assert complete("image show ") == ["sector"] and complete("image label ") == ["base"]
    assert complete("image label base ") == ["sector"]
    assert complete("lease create ") == complete("pool show h") == ["herd"]
    assert complete("export ") == ["image", "label", "pool", "project", "set", "vm", "webhook"]
    assert complete("export vm w") == ["web-1", "web-2"] and complete("export webhook ") == []
    assert complete("export vm web-1 d") == ["db"]
    tokens = {t["id"] for t in drover("token", "list", parse=True)["items"]}
    assert set(complete("token revoke ")) == tokens != set()
    shown = [o["id"] for o in drover("op", "list", parse=True)["items"] if o["id"][0] == "0"]
    assert sorted(complete("op show 0")) == sorted(shown)
    assert complete("context use ") == ["local"]


def test_files_and_places_in_a_vm(complete, tmp_path):
    (tmp_path / "herd.yaml").write_text("")
    (tmp_path / "with space").write_text("")
    assert complete("apply -f he") == complete("apply --file=he") == ["herd.yaml"]
    assert complete("cp he") == ["herd.yaml"]
    assert complete("cp we") == ["web-1:", "web-2:"]
    assert complete("cp herd.yaml web-1:/tmp") == []


def test_the_server_on_the_line_is_asked(complete):
    items = [{"name": n} for n in ("good", "$(reboot)", "a;b", "--help", "x\ny", "gööd", "`id`", "-f")]
    with FakeServer(lambda r: r.json({"items": items, "next_cursor": None})) as server:
        assert complete(f"--url {server.url} vm start ") == ["good"]
        assert complete("vm start ", DROVER_URL=server.url) == ["good"]
        assert len(server.requests) == 2


def test_a_server_that_is_slow_lies_or_is_gone_costs_a_second_at_most(complete):
    given_up = threading.Event()

    def slow(request):
        given_up.wait(30)
        request.json({"items": []})

    with FakeServer(slow) as server:
        began = time.monotonic()
        assert complete(f"--url {server.url} vm start ") == []
        given_up.set()
        assert time.monotonic() - began < 20 # one second, thrice, and a slow machine
    for answer in ("words", {"items": 7}, {"items": [7, {}, {"name": 7}]}, []):
        with FakeServer(lambda r, a=answer: r.json(a)) as server:
            assert complete(f"--url {server.url} vm start ") == []
    assert complete("--url http://127.0.0.1:1 vm start ") == []
    assert complete("--url nonsense vm start ") == [] and complete("--context nosuch vm start ") == []


def test_nonsense_is_no_error(complete):
    for line in ("nosuch ", "vm nosuch ", "--nosuch ", "vm list --nosuch ", "= ", ": ", "-", "--", "vm list -- ", "-o", "x" * 3000,
                 "vm " * 100):
        complete(line)


@contextlib.contextmanager
def shell(daemon, where, *command, **env):  # noqa: F811
    """(send, until) of a shell on a terminal; until(text) waits for what is shown after all it waited for before."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(where)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        os.execvpe(command[0], command, {**clean, "DROVER_STATE_DIR": str(daemon.state_dir), "TERM": "dumb", "HOME": str(where),
                                         "PATH": f"{DROVER.parent}:{os.environ['PATH']}", **env})
    shown = b""

    def until(text):
        nonlocal shown
        deadline = time.monotonic() + 30
        while text not in shown:
            assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], (text, shown)
            shown += os.read(fd, 4096)
        shown = shown[shown.index(text) + len(text):]

    try:
        yield lambda keys: os.write(fd, keys), until
    finally:
        os.close(fd)
        os.waitpid(pid, 0)


TYPED = ((b"vm sho\td\t", b"vm show db "), (b"vm list --stat\trun\t", b"vm list --state=running "),
         (b"cp web-1\t/tmp/x", b"cp web-1:/tmp/x"), (b"vm create x --netw\tbri\tbr0", b"--network=bridge=br0"))


def test_tab_in_a_real_shell(daemon, tmp_path):  # noqa: F811
    """Readline's own splitting and inserting."""
    with shell(daemon, tmp_path, "bash", "--norc", "--noprofile", "-i", PS1="READY ", INPUTRC="/dev/null") as (send, until):
        until(b"READY ")
        send(b"source <(drover completion bash); bind 'set enable-bracketed-paste off'; echo DO''NE\r")
        until(b"DONE")
        until(b"READY ")
        for typed, expected in TYPED:
            send(b"drover " + typed)
            until(expected)
            send(b"\x15")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_tab_in_a_real_zsh(daemon, tmp_path):  # noqa: F811
    """compinit's own splitting and inserting. The line is printed at the end: while it is edited, escape sequences are in it."""
    with shell(daemon, tmp_path, "zsh", "-f", "-i", PS1="READY ") as (send, until):
        until(b"READY ")
        send(b"unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; source <(drover completion zsh); echo DO''NE\r")
        until(b"DONE")
        until(b"READY ")
        for typed, expected in TYPED:
            send(b"drover " + typed + b"\x01print -r -- GO''T \r")
            until(b"GOT drover ")
            until(expected.strip())
            until(b"READY ")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish(daemon, tmp_path):  # noqa: F811
    script = f"{DROVER} completion fish | source; complete -C 'drover vm start w'; complete -C 'drover vm list --state=ru'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, timeout=60, check=True,
                          env={**os.environ, "HOME": str(tmp_path), "DROVER_STATE_DIR": str(daemon.state_dir),
                               "PATH": f"{DROVER.parent}:{os.environ['PATH']}"})
    assert [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == ["web-1", "web-2", "--state=running"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh(daemon, tmp_path):  # noqa: F811
    script = (f"compdef() {{ :; }}; _describe() {{ print -rl -- ${{(P)3}}; }}; source <({DROVER} completion zsh); "
              "words=(drover vm start w); CURRENT=4; _drover; words=(drover cp we); CURRENT=3; _files() { :; }; _drover")
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, timeout=60, check=True,
                          env={**os.environ, "HOME": str(tmp_path), "DROVER_STATE_DIR": str(daemon.state_dir),
                               "PATH": f"{DROVER.parent}:{os.environ['PATH']}"})
    assert done.stdout.decode().split() == ["web-1:stopped", "web-2:stopped", "web-1\\::stopped", "web-2\\::stopped"]


def test_there_are_three_shells(drover):  # noqa: F811
    for shell in ("bash", "zsh", "fish"):
        assert b"__complete" in drover("completion", shell).stdout
    assert b"bash, zsh and fish" in drover("completion", "tcsh", status=2).stderr
