"""`drover ci garm`, driven as GARM drives an external provider, where no guest is needed."""
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, eventually  # noqa: E402
from garm import DUPLICATE, NOT_FOUND, Garm, Home, ProviderFailed  # noqa: E402

DEPLOY = Path(__file__).resolve().parents[2] / "deploy/ci/garm"


@pytest.fixture
def make_garm(daemon, tmp_path):
    made = []

    def make(**config):
        file = tmp_path / f"provider-{len(made)}.json"
        token = tmp_path / "token"
        token.write_text(daemon.admin_token() + "\n")
        file.write_text(json.dumps({"url": daemon.url, "token_file": str(token), "lifetime_seconds": 3600,
                                    "flavors": {"small": {"memory_mib": 64, "cpus": 1}}, **config}))
        made.append(Garm([BUILD / "drover", "ci", "garm"], file))
        return made[-1]

    yield make
    for garm in made:
        if "flavors" in json.loads(Path(garm.config).read_text()):
            try:
                garm.remove_all()
            except ProviderFailed:
                pass # a test of a configuration that is wrong


@pytest.fixture
def garm(make_garm):
    return make_garm()


@pytest.fixture(scope="module")
def image(daemon):
    """An empty disk is enough: nothing boots here."""
    api = daemon.client()
    assert api.post("/v1/images", {"name": "garm-base", "kind": "disk", "format": "raw"}).status == 201
    assert api.put("/v1/images/garm-base/content", b"\0" * 1048576).json["state"] == "ready"
    return "garm-base"


def test_an_instance_lives_and_ends(api, garm, image):
    name = "garm-OgqCPmxbAfmE"
    made = garm.create(name, image=image, flavor="small")
    assert made["name"] == name and made["status"] == "running" and made["os_type"] == "linux"
    lease = api.get(f"/v1/leases/{made['provider_id']}").json
    assert lease["labels"] == {"garm.controller": garm.controller, "garm.pool": garm.pool, "garm.name": name}
    assert lease["ttl_seconds"] == 3600 and lease["vm"]["name"] == "garm-ogqcpmxbafme-1"
    vm = api.get(f"/v1/vms/{lease['vm']['id']}").json
    assert vm["memory_mib"] == 64
    script = api.get(f"/v1/vms/{vm['id']}/user-data").body
    assert script.startswith(b"#!/bin/sh\n") and b"token='jwt'" in script
    assert garm.get(made["provider_id"])["provider_id"] == garm.get(name)["provider_id"] == made["provider_id"]
    assert [i["name"] for i in garm.list()] == [name]
    garm.call("StopInstance", instance=made["provider_id"])
    assert garm.get(name)["status"] == "stopped"
    garm.call("StopInstance", instance=made["provider_id"]) # it is
    garm.call("StartInstance", instance=name)
    assert garm.get(name)["status"] == "running"
    garm.delete(made["provider_id"])
    assert garm.list() == []
    garm.delete(made["provider_id"])
    garm.delete("garm-never-was")
    eventually(lambda: api.get(f"/v1/vms/{vm['id']}").status == 404, 30)


def test_creating_again_is_the_same_instance(api, garm, image):
    first = garm.create("garm-twice", image=image, flavor="small")
    assert garm.create("garm-twice", image=image, flavor="small")["provider_id"] == first["provider_id"]
    assert len(garm.list()) == 1
    # once it has ended, the name may come again
    garm.delete("garm-twice")
    assert garm.create("garm-twice", image=image, flavor="small")["provider_id"] != first["provider_id"]


def test_what_is_not_there_is_said_so(garm):
    for command in ("GetInstance", "StartInstance", "StopInstance", "Start", "Stop"):
        with pytest.raises(ProviderFailed) as failed:
            garm.call(command, instance="garm-nobody")
        assert failed.value.code == NOT_FOUND


def test_two_installations_do_not_see_each_other(api, make_garm, image):
    mine, other = make_garm(), make_garm()
    made = mine.create("garm-mine", image=image, flavor="small")
    assert other.list() == []
    with pytest.raises(ProviderFailed) as failed:
        other.get(made["provider_id"])
    assert failed.value.code == NOT_FOUND
    other.delete(made["provider_id"])
    other.remove_all()
    assert mine.get("garm-mine")["status"] == "running"
    mine.remove_all()
    assert mine.list() == []


def test_creating_that_is_killed_leaks_nothing(api, make_garm, name):
    pool = name("full")
    assert api.put(f"/v1/pools/{pool}", {"vm": {"memory_mib": 64, "networks": []}, "ready": 0, "max": 1}).status == 201
    holder = api.post("/v1/leases", {"pool": pool}, wait="claimed").json["id"]
    garm = make_garm(flavors={"warm": {"pool": pool}})
    process = garm.start("CreateInstance", json.dumps(garm.bootstrap("garm-killed", flavor="warm")).encode())
    mine = dict(label=f"garm.controller={garm.controller}")
    waiting = eventually(lambda: api.get("/v1/leases", state="queued", **mine).json["items"], 30)[0]
    process.kill()
    process.communicate()
    # it lasts only as long as a start may take: not a runner's lifetime
    assert waiting["ttl_seconds"] < 3600
    # GARM deletes by name what it has no provider_id of, then asks again
    assert api.delete(f"/v1/leases/{holder}").status == 200
    eventually(lambda: garm.list(), 30)
    garm.delete("garm-killed")
    assert garm.list() == [] and not api.get("/v1/leases", state="active", **mine).json["items"]
    assert api.delete(f"/v1/pools/{pool}").status == 204


def test_a_failed_start_leaves_nothing(api, make_garm, name):
    """The test driver has no agent: bootstrapping a pool's VM fails there."""
    pool = name("ci")
    assert api.put(f"/v1/pools/{pool}", {"vm": {"memory_mib": 64, "networks": []}, "depth": "cold", "max": 2}).status == 201
    garm = make_garm(flavors={"warm": {"pool": pool}})
    with pytest.raises(ProviderFailed) as failed:
        garm.create("garm-mute", flavor="warm")
    assert failed.value.code == 1
    assert garm.list() == []
    assert api.delete(f"/v1/pools/{pool}").status == 204


def test_a_runner_without_jit_registers_itself_with_curl(api, make_garm, image, tmp_path):
    """The script of cloud-init, in a shell that finds no more programs than it is given: above all, none
    that powers this machine off."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in "cat chown curl gzip head id mkdir mktemp rm sed sh sha256sum tar".split():
        (programs / name).symlink_to(shutil.which(name))
    (programs / "poweroff").write_text(f"#!/bin/sh\necho off >{tmp_path}/off\n")
    (programs / "poweroff").chmod(0o755)
    home = Home(f"#!/bin/sh\necho ran >>{tmp_path}/ran\n".encode(),
                f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/config\necho '{{\"agentId\": 7}}' >.runner\n".encode())
    try:
        garm = make_garm(runner_folder=str(tmp_path / "runner"), runner_user="nobody-here")
        made = garm.create("garm-token", image=image, flavor="small",
                           **{**home.bootstrap("127.0.0.1"), "jit_config_enabled": False, "github-runner-group": "it's"})
        vm = api.get(f"/v1/leases/{made['provider_id']}").json["vm"]["id"]
        script = api.get(f"/v1/vms/{vm}/user-data").body
        for times in (1, 2): # the second time the runner is there already
            done = subprocess.run([programs / "sh"], input=script, env={"PATH": str(programs), "TMPDIR": str(tmp_path)},
                                  capture_output=True, check=False, timeout=60)
            assert done.returncode == 0, done
            assert (tmp_path / "ran").read_text() == "ran\n" * times
        assert (tmp_path / "off").exists() and home.calls.count("/runner.tar.gz") == 1
        assert (tmp_path / "config").read_text().splitlines() == [
            "--unattended", "--ephemeral", "--no-default-labels", "--url", "https://github.invalid/o/r", "--token",
            "REGISTER", "--name", "garm-token", "--labels", "drover,linux", "--runnergroup", "it's"]
        assert [s["status"] for s in home.statuses] == ["installing", "installing", "idle", "installing", "idle"]
        assert home.info["agent_id"] == 7 and home.info["os_name"]
        # what is not what GARM named is not run
        shutil.rmtree(tmp_path / "runner")
        home.runner = home.runner[:-1] + b"x"
        (tmp_path / "off").unlink()
        done = subprocess.run([programs / "sh"], input=script, env={"PATH": str(programs), "TMPDIR": str(tmp_path)},
                              capture_output=True, check=False, timeout=60)
        assert done.returncode == 1 and (tmp_path / "off").exists()
        assert home.statuses[-1] == {"status": "failed", "message": "the runner is not the one GARM named"}
        assert (tmp_path / "ran").read_text() == "ran\n" * 2
    finally:
        home.close()


def test_it_describes_itself(garm):
    assert garm.call("GetVersion").decode().startswith("v")
    assert json.loads(garm.call("GetSupportedInterfaceVersions")) == ["v0.1.0", "v0.1.1"]
    from jsonschema import Draft202012Validator
    config, extra = (json.loads(garm.call(c)) for c in ("GetConfigJSONSchema", "GetExtraSpecsJSONSchema"))
    for schema in (config, extra):
        Draft202012Validator.check_schema(schema)
    Draft202012Validator(config).validate(json.loads(Path(garm.config).read_text()))
    example = DEPLOY / "provider.json"
    Draft202012Validator(config).validate(json.loads(example.read_text()))
    garm.call("ValidatePoolInfo", extra_specs={"pool": "ci"})
    with pytest.raises(ProviderFailed, match="no member 'colour'"):
        garm.call("ValidatePoolInfo", extra_specs={"colour": "red"})


def test_the_example_is_what_garm_takes(make_garm, daemon, tmp_path):
    """Its fields are those of GARM's config.Provider and config.External; its program is the script beside it."""
    provider, = tomllib.loads((DEPLOY / "config.toml").read_text())["provider"]
    assert set(provider) <= {"name", "provider_type", "description", "disable_jit_config", "external"}
    assert provider["name"] == "drover" and provider["provider_type"] == "external"
    external = provider["external"]
    assert set(external) <= {"provider_executable", "provider_dir", "config_file", "interface_version", "environment_variables"}
    assert external["interface_version"] in ("v0.1.0", "v0.1.1")
    assert external["config_file"].startswith("/etc/garm/")
    program = DEPLOY / "garm-provider"
    assert external["provider_executable"] == f"/usr/share/drover/ci/garm/{program.name}" and os.access(program, os.X_OK)
    # GARM runs it without arguments and with an environment of its own.
    garm = make_garm()
    script = tmp_path / "as-garm-runs-it"
    script.write_text(f"#!/bin/sh\nDROVER={BUILD / 'drover'} exec {program}\n")
    script.chmod(0o755)
    wrapped = Garm([script], garm.config)
    assert wrapped.list() == [] and json.loads(wrapped.call("GetSupportedInterfaceVersions")) == ["v0.1.0", "v0.1.1"]


@pytest.mark.parametrize("config,message", [
    ({"flavours": {}}, "no member 'flavours'"),
    ({"flavors": {"x": {"memory": 1}}}, "the flavor x has no member 'memory'"),
    ({"flavors": {"x": {"bootstrap": "magic"}}}, "must be cloud-init or agent"),
    ({"token_file": "/nonexistent"}, "no file /nonexistent"),
])
def test_a_wrong_configuration_is_named(make_garm, config, message):
    with pytest.raises(ProviderFailed, match=message):
        make_garm(**config).list()


def test_wrong_questions_are_named(garm, image):
    for stdin in (b"", b"{", b"[]", b"{}"):
        with pytest.raises(ProviderFailed, match="bootstrap document"):
            garm.call("CreateInstance", stdin)
    for wrong, message in (({"os_type": "windows"}, "only Linux"), ({"flavor": "huge"}, "no flavor huge"),
                           ({"instance-token": ""}, "no instance-token"), ({"image": "none-such"}, "none-such"),
                           ({"extra_specs": {"x": 1}}, "extra_specs has no member 'x'")):
        bootstrap = {**garm.bootstrap("garm-wrong", image=image, flavor="small"), **wrong}
        with pytest.raises(ProviderFailed, match=message):
            garm.call("CreateInstance", json.dumps(bootstrap).encode())
    with pytest.raises(ProviderFailed, match="not an operation: 'Dance'"):
        garm.call("Dance")
    with pytest.raises(ProviderFailed, match="GARM_INSTANCE_ID"):
        garm.call("GetInstance")
    assert garm.list() == [] and DUPLICATE == 31
