"""deploy/ci/github: one runner for one job, with GitHub's REST API played by a stand-in."""
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, eventually  # noqa: E402

RECIPE = Path(__file__).resolve().parents[2] / "deploy/ci/github/jit-runner"
CONFIG = "eyJhYmMiOiAiZGVmIn0+/w=="


@pytest.fixture
def github():
    """Answers as POST …/actions/runners/generate-jitconfig is documented."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append((self.path, self.headers["Authorization"], body))
            status = 201 if self.headers["Authorization"] == "Bearer ghp_secret" else 401
            answer = {"runner": {"id": 23, "name": body["name"], "os": "unknown", "status": "offline", "busy": False,
                                 "labels": [{"id": 5, "name": label, "type": "custom"} for label in body["labels"]]},
                      "encoded_jit_config": CONFIG} if status == 201 else {"message": "Bad credentials"}
            data = json.dumps(answer, indent=2).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def start(daemon, github, api):
    made = []

    def run(*args, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        made.append(subprocess.Popen([RECIPE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={
            **clean, "DROVER": str(BUILD / "drover"), "DROVER_URL": daemon.url, "DROVER_TOKEN": daemon.admin_token(),
            "GITHUB_TOKEN": "ghp_secret", "GITHUB_API": f"http://127.0.0.1:{github.server_address[1]}",
            "IMAGE": "jit-base", "MEMORY": "64", "CPUS": "1", **env}))
        return made[-1]

    if api.get("/v1/images/jit-base").status == 404:
        assert api.post("/v1/images", {"name": "jit-base", "kind": "disk", "format": "raw"}).status == 201
        assert api.put("/v1/images/jit-base/content", b"\0" * 1048576).json["state"] == "ready"
    yield run
    for process in made:
        if process.poll() is None:
            process.kill()
        process.communicate()


def lease_of(api, github):
    """Of the runner asked for last."""
    name = eventually(lambda: github.asked, 30)[-1][2]["name"]
    return eventually(lambda: api.get("/v1/leases", label=f"ci.job=github/{name}", state="active").json["items"], 30)[0]


def test_a_runner_is_asked_for_and_its_vm_ends_with_it(api, github, start):
    process = start("octo/repo", "linux", "big one")
    lease = lease_of(api, github)
    path, authorization, body = github.asked[0]
    assert path == "/repos/octo/repo/actions/runners/generate-jitconfig" and authorization == "Bearer ghp_secret"
    assert body == {"name": body["name"], "runner_group_id": 1, "labels": ["linux", "big one"], "work_folder": "_work"}
    vm = lease["vm"]["id"]
    script = api.get(f"/v1/vms/{vm}/user-data").body.decode()
    assert script.startswith("#!/bin/sh\n") and f"./run.sh --jitconfig {CONFIG}'" in script
    assert script.rstrip().endswith("\npoweroff")
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"ghp_secret" not in command and CONFIG.encode() not in command
    # the job is over: the guest powers off
    assert api.post(f"/v1/vms/{vm}/stop", wait=30, patience=60).json["state"] == "succeeded"
    assert process.wait(60) == 0, process.stderr.read()
    assert api.get(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"
    eventually(lambda: api.get(f"/v1/vms/{vm}").status == 404, 30)


def test_an_organisations_runner_that_is_cancelled_leaves_nothing(api, github, start):
    process = start("octo", LIFETIME="1h", GROUP="7")
    lease = lease_of(api, github)
    assert github.asked[0][0] == "/orgs/octo/actions/runners/generate-jitconfig"
    assert github.asked[0][2]["labels"] == ["drover"] and github.asked[0][2]["runner_group_id"] == 7
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert api.get(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"


def test_a_runner_whose_time_is_up_ends(api, github, start):
    process = start("octo", LIFETIME="1s")
    assert process.wait(60) == 124
    name = github.asked[0][2]["name"]
    assert not api.get("/v1/leases", label=f"ci.job=github/{name}", state="active").json["items"]


def test_without_a_configuration_no_vm_is_made(api, github, start):
    process = start("octo", GITHUB_TOKEN="wrong")
    assert process.wait(60) not in (0, 125)
    assert not api.get("/v1/leases", label=f"ci.job=github/{github.asked[0][2]['name']}").json["items"]
    assert start().wait(60) == 2
