"""Every command of tests/support/verbs.py asks for the operation that it is said to do."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_server import FakeServer
from test_cli import DROVER

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contract"))
from validate import Contract  # noqa: E402
from verbs import VERBS  # noqa: E402

OPERATIONS = {o.id: o for o in Contract().operations}
# What any of them may want to find in an answer.
ANSWER = {"id": "x", "name": "x", "state": "succeeded", "etag": "1", "display": True, "items": [], "next_cursor": None,
          "operation": {"id": "o", "state": "succeeded"}, "stdout": "", "stderr": "", "exit_code": 0, "token": "t", "url": "u",
          "usage": {}, "quota": {}}


NO_HAPPY_END = {"openVmExec", "testWebhook"} # this server's answers are no success of theirs


def answer(request):
    if request.headers.get("Upgrade"):
        request.upgrade("drover.console.v1" if "Sec-WebSocket-Protocol" in request.headers else None).close(1000)
    else:
        request.json(ANSWER)


def matches(operation, request):
    pattern = re.sub(r"\\\{\w+\\\}", "[^/?]+", re.escape(operation.path).replace("\\{", "\\{").replace("\\}", "\\}"))
    return request.method == operation.method and re.fullmatch(pattern + r"(\?.*)?", request.path)


@pytest.mark.parametrize("operation, line", VERBS.items())
def test_it_is_asked_for(operation, line, tmp_path):
    (tmp_path / "file").write_text("ssh-ed25519 AAAA\n")
    words = [w.format(file=tmp_path / "file", new=tmp_path / "new") for w in line.split()]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
    with FakeServer(answer) as server:
        env = {**clean, "DROVER_URL": server.url, "DROVER_TOKEN": "t", "HOME": str(tmp_path)}
        if operation == "openDisplay": # somebody must look
            process = subprocess.Popen([DROVER, *words], stdout=subprocess.PIPE, env=env, stderr=subprocess.DEVNULL)
            process.stdout.readline()
            subprocess.run(["socat", "-u", f"UNIX-CONNECT:{tmp_path / 'new'}", "-"], timeout=30, check=True)
            process.wait(30)
            process.stdout.close()
        else:
            done = subprocess.run([DROVER, *words], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, env=env, check=False)
            assert done.returncode == 0 or (operation in NO_HAPPY_END and done.returncode == 1), (done.stdout, done.stderr)
        asked = [(r.method, r.path) for r in server.requests]
        assert any(matches(OPERATIONS[operation], r) for r in server.requests), asked
