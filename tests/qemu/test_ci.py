"""CI systems and real guests: GitLab's custom executor and GARM's provider, driven by stand-ins of both."""
import json
import os
import re
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from garm import Garm, Home
from gitlab_runner import Job
from rig import BUILD, SLOW, eventually

DROVER = BUILD / "drover"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy/ci"
# What the recipes expect of an image, as small as it can be. The agent behaves as its documentation says.
TOOLS = {
    "bin/make": b"#!/bin/sh\n[ \"$1\" = test ] || exit 2\nmkdir -p reports && echo '<testsuite/>' >reports/unit.xml\n"
                b"echo \"made $(cat source) for $GIT_COMMIT$CI_COMMIT_SHA\"\n",
    "bin/buildkite-agent": b"#!/bin/sh\n[ \"$1 $2\" = 'start --acquire-job' ] || exit 64\n"
                           b"[ \"$BUILDKITE_AGENT_TOKEN\" = bk-secret ] || { echo 'invalid token' >&2; exit 1; }\n"
                           b"case $3 in taken) exit 27 ;; fails) exit 5 ;; slow) echo begun; sleep 1000 ;; esac\n"
                           b"echo \"job $3 done\"\n",
}


@pytest.fixture(scope="module", autouse=True)
def pool(rig, demo_image):
    rig.ensure_image("demo")
    rig.upload_demo("ci-demo", TOOLS)
    made = rig.api.put("/v1/pools/ci", {
        "vm": {"image": "ci-demo", "memory_mib": 128, "acceleration": "emulated", "guest_agent": True,
               "networks": [{"mode": "user"}]}, "depth": "booted", "ready_when": "console", "ready": 1, "max": 3})
    assert made.status == 201, made
    yield "ci"
    assert rig.api.delete("/v1/pools/ci").status == 204
    # one that was just being started is ended in the background
    eventually(lambda: not [v for v in rig.api.get("/v1/vms").json["items"] if v["pool_id"]], SLOW, "an empty pool")


@pytest.fixture
def make_job(rig):
    made = []

    def make(number, *config_args, variables=None):
        made.append(Job(number, [DROVER, "--socket", rig.socket_path, "ci", "gitlab"], config_args=config_args,
                        variables=variables))
        return made[-1]

    yield make
    for job in made:
        job.close()


def active(rig, number):
    return rig.api.get("/v1/leases", state="active", label=f"ci.job=gitlab/{number}").json["items"]


def test_a_gitlab_job_runs_in_one_vm_and_is_gone(rig, make_job, pool):
    job = make_job(1, "--pool", pool)
    verdict = job.play("cat README; echo careful >&2; echo made >result", after="echo after; cat result")
    assert verdict == "success", job.log
    log = job.log.decode()
    assert log.index("Running on demo via drover") < log.index("sources") < log.index("after\nmade")
    assert "careful" in log and not active(rig, 1)
    assert not job.cleanup_log


def test_the_verdict_is_the_scripts(rig, make_job, pool):
    job = make_job(2, "--pool", pool, "--keep-on-failure", "1h")
    assert job.play("echo no; exit 77", after="echo after") == "failed 77"
    assert b"after" in job.log and not active(rig, 2), "it did not ask to be kept"


def test_a_failed_job_that_asks_for_it_keeps_its_vm(rig, make_job, pool):
    job = make_job(3, "--pool", pool, "--keep-on-failure", "1h", variables={"DROVER_KEEP_ON_FAILURE": "20m"})
    assert job.play("echo here >/tmp/evidence; exit 1", after="true") == "failed 1"
    lease, = active(rig, 3)
    vm = lease["vm"]
    assert lease["ttl_seconds"] == 1200
    assert f"the VM {vm['name']} is kept for 20m".encode() in job.log and b"is kept until" in job.cleanup_log
    secret = re.search(r"watch its console: http://\S+#share=(\w+)", job.log.decode())[1]
    with rig.console(vm["id"], token=None, ticket=secret, mode="view") as c:
        c.expect(rb"root@")
    kept = rig.api.post(f"/v1/vms/{vm['id']}/exec", {"argv": ["cat", "/tmp/evidence"]}, patience=SLOW).json
    assert kept["stdout"] == "here\n"
    assert rig.api.delete(f"/v1/leases/{lease['id']}").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cancelled_job_ends_and_leaves_nothing(rig, make_job, pool, number):
    job = make_job(10 + number, "--pool", pool)
    result = job.in_background("echo begun; sleep 1000")
    eventually(lambda: b"begun\n" in job.log, SLOW, "the script")
    lease, = active(rig, job.number)
    job.cancel(number)
    assert result(SLOW) == "system failure"
    assert not active(rig, job.number)
    eventually(lambda: rig.api.get(f"/v1/vms/{lease['vm']['id']}").status == 404, SLOW, "the VM's end")


def test_a_job_chooses_its_image_where_it_may(rig, make_job):
    job = make_job(4, "--allow-image", "demo*", "--memory", "128", variables={"CI_JOB_IMAGE": "demo"})
    job.do_prepare()
    lease, = active(rig, 4)
    assert lease["vm"]["name"] == "gitlab-4-1" and lease["pool"] is None
    assert rig.vm(lease["vm"]["id"])["labels"]["ci.job"] == "gitlab/4"
    job.do_run("step_script", "test -e /proc/version\n")
    assert job.do_cleanup() == 0 and not active(rig, 4)


def test_a_garm_runner_serves_one_job_and_powers_off(rig, tmp_path, pool):
    config = tmp_path / "provider.json"
    config.write_text(json.dumps({"socket": rig.socket_path, "flavors": {"warm": {"pool": pool}},
                                  "runner_folder": "/opt/runner", "lifetime_seconds": 1800}))
    garm = Garm([DROVER, "ci", "garm"], config)
    # its archive is made before the port is known: the runner looks where its guest looked
    home = Home(b"#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")\"\ngrep -q 4242 .runner\ngrep -q OAuth .credentials\n"
                b"grep -q key .credentials_rsaparams\n[ \"$RUNNER_ALLOW_RUNASROOT\" = 1 ]\n"
                b"base=$(sed -n \"s/^callback='\\(.*\\)\\/callbacks'$/\\1/p\" /run/drover-runner)\n"
                b"wget -q -O - --post-data done \"$base/done\"\n")
    try:
        made = garm.create("garm-AbCdEf", flavor="warm", **home.bootstrap("10.0.2.2"))
        assert made["status"] == "running"
        assert home.done.wait(SLOW), (home.calls, home.statuses)
        assert [s["status"] for s in home.statuses] == ["installing", "installing", "idle"], home.statuses
        assert home.statuses[-1]["agent_id"] == home.info["agent_id"] == 4242
        eventually(lambda: garm.get("garm-AbCdEf")["status"] == "stopped", SLOW, "the runner powers off")
        assert [i["provider_id"] for i in garm.list()] == [made["provider_id"]]
        garm.delete(made["provider_id"])
        assert garm.list() == []
    finally:
        home.close()


# ---- recipes of deploy/ci ----

@pytest.fixture
def recipe(rig):
    """recipe(command, …) is what it printed; its exit status is as said."""
    def run(*command, status=0, cwd=None, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DROVER_", "BUILDKITE_"))}
        path = f"{DROVER.parent}:{clean['PATH']}"
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=SLOW * 2, check=False, stdin=subprocess.DEVNULL,
                              env={**clean, "PATH": path, "DROVER_URL": rig.url, "DROVER_TOKEN": rig.admin_token(), **env})
        assert done.returncode == status, done
        assert not rig.api.get("/v1/leases", state="active").json["items"]
        return done.stdout.decode()
    return run


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "source").write_text("this\n")
    return tmp_path


def test_the_gitlab_example_is_a_config_the_runner_takes(make_job, rig):
    runner, = tomllib.loads((DEPLOY / "gitlab/config.toml").read_text())["runners"]
    custom = runner["custom"]
    assert runner["executor"] == "custom" and runner["builds_dir"] and runner["cache_dir"]
    assert [custom[f"{stage}_args"][:3] for stage in ("config", "prepare", "run", "cleanup")] == [
        ["ci", "gitlab", "config"], ["ci", "gitlab", "prepare"], ["ci", "gitlab", "run"], ["ci", "gitlab", "cleanup"]]
    job = make_job(5, *custom["config_args"][3:]) # it names no image: it gets a VM of the runner's pool
    assert job.play("echo this >source; make test") == "success", job.log
    assert b"made this for" in job.log


def test_a_buildkite_job_has_an_agent_of_its_own(recipe):
    script, env = DEPLOY / "buildkite/one-job", {"IMAGE": "ci-demo", "MEMORY": "128", "CPUS": "1",
                                                 "BUILDKITE_AGENT_TOKEN": "bk-secret"}
    assert recipe(script, "0190-abc", **env) == "job 0190-abc done\n"
    recipe(script, "taken", status=27, **env)
    recipe(script, status=2, **env)


@pytest.mark.skipif(not os.environ.get("DROVER_TEST_LONG"), reason="test_run.py kills what it runs; only with --long")
def test_a_buildkite_job_that_is_killed_leaves_nothing(rig):
    env = {**os.environ, "DROVER": str(DROVER), "DROVER_URL": rig.url, "DROVER_TOKEN": rig.admin_token(), "IMAGE": "ci-demo",
           "MEMORY": "128", "CPUS": "1", "BUILDKITE_AGENT_TOKEN": "bk-secret"}
    with subprocess.Popen([DEPLOY / "buildkite/one-job", "slow"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env) as job:
        assert job.stdout.readline() == b"begun\n"
        lease, = rig.api.get("/v1/leases", state="active", label="ci.job=buildkite/slow").json["items"]
        job.send_signal(signal.SIGTERM)
        assert job.wait(SLOW) == 128 + signal.SIGTERM
    assert rig.api.get(f"/v1/leases/{lease['id']}").json["end_reason"] == "released"
    eventually(lambda: rig.api.get(f"/v1/vms/{lease['vm']['id']}").status == 404, SLOW, "the VM's end")


def test_the_buildkite_hook_runs_the_command_in_a_vm(recipe, workspace):
    hook = DEPLOY / "buildkite/hooks/command"
    env = {"BUILDKITE_BUILD_CHECKOUT_PATH": str(workspace), "BUILDKITE_JOB_ID": "0190-def", "BUILDKITE_BRANCH": "main",
           "BUILDKITE_AGENT_ACCESS_TOKEN": "secret", "DROVER_POOL": "ci", "DROVER_FETCH": "reports"}
    printed = recipe(hook, BUILDKITE_COMMAND="make test && echo $BUILDKITE_BRANCH && echo ${BUILDKITE_AGENT_ACCESS_TOKEN:-none}",
                     **env)
    assert printed == "made this for \nmain\nnone\n"
    assert (workspace / "reports/unit.xml").read_text() == "<testsuite/>\n"
    recipe(hook, BUILDKITE_COMMAND="exit 6", status=6, **{**env, "DROVER_FETCH": ""})


def test_what_jenkins_runs(recipe, workspace):
    step = re.search(r"sh '''(.*?)'''", (DEPLOY / "jenkins/Jenkinsfile").read_text(), re.DOTALL)[1]
    # as the plugin runs it: a file, by sh -xe, in the workspace
    (workspace / "script.sh").write_text(step)
    printed = recipe("sh", "-xe", "script.sh", cwd=workspace, BUILD_TAG="jenkins-job-7", JOB_NAME="job", BUILD_NUMBER="7",
                     GIT_COMMIT="abc")
    assert printed == "made this for abc\n" and (workspace / "reports/unit.xml").exists()


def test_what_woodpecker_runs(recipe, workspace):
    step, = yaml.safe_load((DEPLOY / "woodpecker/woodpecker.yaml").read_text())["steps"]
    # the local backend runs the commands one after the other with the shell that image: names
    printed = recipe(step["image"], "-ec", "\n".join(step["commands"]), cwd=workspace, CI_REPO="o/r",
                     CI_PIPELINE_NUMBER="9", CI_COMMIT_SHA="def")
    assert printed == "made this for def\n" and (workspace / "reports/unit.xml").exists()
