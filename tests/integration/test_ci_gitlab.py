"""`drover ci gitlab`, driven as GitLab Runner drives a custom executor, where no guest is needed: its
settings, its verdicts, and what a job's author may not do."""
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, eventually  # noqa: E402
from gitlab_runner import BuildFailure, Job, SystemFailure  # noqa: E402

DROVER = BUILD / "drover"
NUMBERS = iter(range(4711, 9999))


@pytest.fixture
def make_job(daemon):
    made = []

    def make(number=None, **kw):
        job = Job(number or next(NUMBERS), [DROVER, "--socket", daemon.socket_path, "ci", "gitlab"], **kw)
        made.append(job)
        return job

    yield make
    for job in made:
        job.close()


@pytest.fixture
def pool(api, name):
    """Its VMs run at once, but nobody answers in them: the test driver has no guests."""
    made = name("ci")
    assert api.put(f"/v1/pools/{made}", {"vm": {"memory_mib": 64, "networks": [], "guest_agent": True}, "ready": 1,
                                         "max": 3}).status == 201
    eventually(lambda: api.get(f"/v1/pools/{made}").json["status"]["ready"] == 1, 30)
    yield made
    assert api.delete(f"/v1/pools/{made}").status == 204


def leases(api, job, **query):
    return api.get("/v1/leases", label=f"ci.job=gitlab/{job.number}", **query).json["items"]


def test_config_prints_the_settings_of_the_other_stages(make_job):
    job = make_job(config_args=["--image", "base", "--memory", "512", "--builds-dir", "/b"])
    job.do_config()
    assert job.config["driver"]["name"] == "drover" and job.config["builds_dir"] == "/b"
    assert job.config["cache_dir"] == "/cache" and job.config["builds_dir_is_shared"] is False
    words = json.loads(job.job_env["DROVER_CI_OPTIONS"])
    assert {"name": "memory", "value": "512"} in words and {"name": "image", "value": "base"} in words


@pytest.mark.parametrize("args", [["--image", "a", "--pool", "b"], ["--lease", "1s"], ["--no-such"], ["--cpus", "0"]])
def test_wrong_settings_are_a_system_failure(make_job, args):
    with pytest.raises(SystemFailure):
        make_job(config_args=args).do_config()


def test_a_job_without_a_number_is_nobodys(make_job):
    job = make_job(config_args=["--image", "a"], response=False, variables={"CI_JOB_ID": ""})
    with pytest.raises(SystemFailure, match="has no number"):
        job.do_config()


@pytest.mark.parametrize("variables,message", [
    ({}, "names no image"),
    ({"CI_JOB_IMAGE": "debian:12"}, "does not allow the image debian:12"),
    ({"CI_JOB_IMAGE": "pool:other"}, "does not allow the image pool:other"),
    ({"CI_JOB_IMAGE": "ci-x", "DROVER_KEEP_ON_FAILURE": "soon"}, "must be true or a time"),
])
def test_what_the_jobs_author_got_wrong_is_a_build_failure(api, make_job, variables, message):
    job = make_job(config_args=["--allow-image", "ci-*", "--keep-on-failure", "1h"], variables=variables)
    with pytest.raises(BuildFailure):
        job.do_prepare()
    assert message in job.log.decode()
    assert not leases(api, job)


def test_a_vm_that_never_answers_is_tried_three_times_and_left_behind_never(api, make_job, pool):
    job = make_job(config_args=["--pool", pool, "--boot-timeout", "1s"])
    assert job.play("true") == "system failure"
    assert len(leases(api, job)) == 3 and not leases(api, job, state="active")
    assert {lease["end_reason"] for lease in leases(api, job)} == {"released"}
    assert {lease["holder"] for lease in leases(api, job)} == {"gitlab project 77"}


# Who waits in line can be killed at leisure; once it has a VM, this driver has no agent to wait for.

@pytest.fixture
def full(api, name):
    """A pool whose only VM is taken, and who holds it."""
    made = name("full")
    assert api.put(f"/v1/pools/{made}", {"vm": {"memory_mib": 64, "networks": []}, "ready": 0, "max": 1}).status == 201
    holder = api.post("/v1/leases", {"pool": made}, wait="claimed").json["id"]
    yield made, holder
    api.delete(f"/v1/leases/{holder}")
    assert api.delete(f"/v1/pools/{made}").status == 204


def in_line(api, job):
    return eventually(lambda: leases(api, job, state="queued"), 30)[0]


def kill(process):
    process.kill()
    process.communicate()


def test_a_prepare_that_is_killed_is_found_again_and_cleaned_up(api, make_job, full):
    job = make_job(config_args=["--pool", full[0]])
    job.do_config()
    process = job.start("prepare")
    found = in_line(api, job)
    kill(process)
    # GitLab Runner itself died and came back: the same job, the same place in the line
    process = job.start("prepare")
    assert b"place 1" in process.stdout.readline()
    assert [lease["id"] for lease in leases(api, job)] == [found["id"]]
    kill(process)
    assert job.do_cleanup() == 0
    assert leases(api, job)[0]["state"] == "ended" and leases(api, job)[0]["end_reason"] == "released"
    assert job.do_cleanup() == 0


def test_nobody_cleans_up_and_the_lease_ends_by_itself(api, make_job, full):
    pool, holder = full
    job = make_job(config_args=["--pool", pool, "--lease", "5s"])
    job.do_config()
    process = job.start("prepare")
    in_line(api, job)
    kill(process)
    assert api.delete(f"/v1/leases/{holder}").status == 200
    vm = eventually(lambda: leases(api, job, state="active"), 30)[0]["vm"]["id"]
    eventually(lambda: leases(api, job)[0]["state"] == "ended", 60)
    assert leases(api, job)[0]["end_reason"] == "expired"
    eventually(lambda: api.get(f"/v1/vms/{vm}").status == 404, 30)


def test_a_cancelled_prepare_leaves_the_line_at_once(api, make_job, full):
    job = make_job(config_args=["--pool", full[0]])
    job.do_config()
    process = job.start("prepare")
    in_line(api, job)
    assert b"place 1" in process.stdout.readline()
    job.cancel()
    said, _ = process.communicate(timeout=60)
    with pytest.raises(SystemFailure, match="interrupted"):
        job.judge(process.returncode, said)
    assert leases(api, job)[0]["end_reason"] == "released"


def test_a_jobs_author_cannot_take_another_jobs_vm(api, make_job, pool):
    victim = next(NUMBERS)
    lease = api.post("/v1/leases", {"pool": pool, "labels": {"ci.job": f"gitlab/{victim}"}}).json["id"]
    thief = make_job(config_args=["--pool", pool], variables={"CI_JOB_ID": str(victim)})
    thief.do_config()
    with pytest.raises(SystemFailure, match="VM is gone"):
        thief.do_run("build_script", "true\n")
    assert thief.do_cleanup() == 0
    assert api.get(f"/v1/leases/{lease}").json["state"] == "active"
    # an old runner tells no more than the variable
    owner = make_job(victim, config_args=["--pool", pool], response=False)
    owner.do_config()
    assert owner.do_cleanup() == 0
    assert api.get(f"/v1/leases/{lease}").json["end_reason"] == "released"


def test_an_unreachable_server_is_a_system_failure(make_job):
    job = make_job(config_args=["--image", "a"])
    job.command = [DROVER, "--url", "http://127.0.0.1:9", "ci", "gitlab"]
    job.do_config()
    with pytest.raises(SystemFailure, match="cannot reach"):
        job.execute("prepare")
