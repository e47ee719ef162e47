"""CI systems and real guests: GitLab's custom executor and GARM's provider, driven by stand-ins of both."""
import json
import re
import signal

import pytest

from garm import Garm, Home
from gitlab_runner import Job
from rig import BUILD, SLOW, eventually

DROVER = BUILD / "drover"


@pytest.fixture(scope="module", autouse=True)
def pool(rig, demo_image):
    rig.ensure_image("demo")
    made = rig.api.put("/v1/pools/ci", {
        "vm": {"image": "demo", "memory_mib": 128, "acceleration": "emulated", "guest_agent": True,
               "networks": [{"mode": "user"}]}, "depth": "booted", "ready_when": "console", "ready": 1, "max": 3})
    assert made.status == 201, made
    yield "ci"
    assert rig.api.delete("/v1/pools/ci").status == 204


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
