"""A whole Debian, made from packages, booted by its own boot loader: cloud-init's real parse of what we
hand it, SSH, programs, publishing and a clone that is somebody else. Minutes under emulation: --long."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rig import BUILD, eventually, qemu_pid

PATIENCE = 900
WICKED = "line one\nit's \"two\": {x: [y]} # no comment\n]]></user-data><domain>&amp;\n--- !!python/object:os.system\n\t\\n ünïcødé 🐑\n"
COMMENT = "it's \"me\" <x>: {y} # &amp; ]]>"
MULTIPART = """Content-Type: multipart/mixed; boundary="edge"
MIME-Version: 1.0

--edge
Content-Type: text/cloud-config; charset="utf-8"

#cloud-config
write_files:
  - {path: /etc/from-the-clone, content: "first part\\n"}
--edge
Content-Type: text/x-shellscript; charset="utf-8"

#!/bin/sh
printf '%s\\n' "second: 'part'" >/etc/from-the-script
--edge--
"""


@pytest.fixture(scope="module")
def debian():
    if not os.environ.get("DROVER_TEST_LONG"):
        pytest.skip("only with --long")
    where = Path(os.environ.get("DROVER_DEBIAN_IMAGE") or BUILD.parent / "debian-image")
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed")
    made = subprocess.run([Path(__file__).with_name("build-debian"), where], capture_output=True, text=True)
    assert made.returncode == 0, f"the image was not made:\n{made.stderr[-3000:]}"
    return where / "debian.qcow2"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", path], check=True)
    return path


def run(rig, vm, *argv, seconds=PATIENCE, check=True):
    answer = rig.api.post(f"/v1/vms/{vm}/exec", {"argv": list(argv), "timeout_seconds": seconds}, patience=seconds + 60)
    assert answer.status == 200, answer
    assert not check or answer.json["exit_code"] == 0, answer.json
    return answer.json["stdout"]


def booted(rig, **definition):
    definition = {"memory_mib": 512, "acceleration": "emulated", "networks": [{"mode": "user"}], "start": True, **definition}
    made = rig.api.post("/v1/vms", definition)
    assert made.status == 201, made
    vm = made.json["id"]
    rig.made.append(vm)
    eventually(lambda: rig.api.get(f"/v1/vms/{vm}/agent", patience=60).json["state"] == "ready", PATIENCE, "the agent", every=2)
    status = run(rig, vm, "cloud-init", "status", "--wait", check=False)
    assert "status: done" in status, status + run(rig, vm, "cat", "/run/cloud-init/result.json", check=False)
    return {**rig.vm(vm), "identity": made.json["identity"]}


@pytest.fixture(scope="module")
def first(rig, debian, key):
    assert rig.api.post("/v1/images", {"name": "debian", "kind": "disk", "format": "qcow2"}).status == 201
    answer = rig.api.put("/v1/images/debian/content", debian.read_bytes(), patience=PATIENCE)
    assert answer.status == 200 and answer.json["state"] == "ready", answer
    user_data = "#cloud-config\n" + json.dumps({
        "write_files": [{"path": "/etc/wicked", "content": WICKED}], "users": ["default", {"name": "ann", "lock_passwd": True}],
        "runcmd": [["sh", "-c", "echo ran-$(id -un) >/etc/ran"]]}, ensure_ascii=False)  # YAML knows no surrogates
    vm = booted(rig, name="first", image="debian", description=WICKED, user_data=user_data,
                ssh_keys=[key.with_suffix(".pub").read_text().strip()])
    vm["user_data"] = user_data
    return vm


def facts(rig, vm):
    """Who the guest thinks it is, and what its host gave it."""
    command = Path(f"/proc/{qemu_pid(vm)}/cmdline").read_bytes().decode()
    return {"machine_id": run(rig, vm, "cat", "/etc/machine-id").strip(), "hostname": run(rig, vm, "hostname").strip(),
            "mac": run(rig, vm, "cat", "/sys/class/net/eth0/address").strip(),
            "instance": run(rig, vm, "cat", "/var/lib/cloud/data/instance-id").strip(),
            "host_key": run(rig, vm, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[1],
            "uuid": run(rig, vm, "cat", "/sys/class/dmi/id/product_uuid").strip(),
            "generation": command[command.index("vmgenid"):][:80].split("guid")[1][:42]}


def test_user_data_is_applied_as_it_was_written(rig, first):
    vm = first["id"]
    assert run(rig, vm, "cat", "/etc/wicked") == WICKED
    assert run(rig, vm, "cat", "/etc/ran") == "ran-root\n"
    assert "ann:" in run(rig, vm, "cat", "/etc/passwd")
    assert run(rig, vm, "cat", "/var/lib/cloud/instance/user-data.txt") == first["user_data"]


def test_what_we_made_is_data_to_cloud_init(rig, first, key):
    vm = first["id"]
    told = json.loads(run(rig, vm, "cat", "/run/cloud-init/instance-data-sensitive.json"))["ds"]["meta_data"]
    assert told["instance-id"] == vm and told["local-hostname"] == "first"
    assert told["public-keys"] == [key.with_suffix(".pub").read_text().strip()] and COMMENT in told["public-keys"][0]
    assert run(rig, vm, "hostname").strip() == "first"
    assert "NoCloud" in run(rig, vm, "cat", "/run/cloud-init/result.json")


def test_the_network_is_up_and_the_agent_says_who_it_is(rig, first):
    vm = first["id"]
    addresses = [a["address"] for a in rig.api.get(f"/v1/vms/{vm}/addresses").json["items"]]
    assert "10.0.2.15" in addresses
    told = rig.api.get(f"/v1/vms/{vm}/agent").json
    assert told["os"]["id"] == "debian" and told["hostname"] == "first"
    assert "/" in [f["mountpoint"] for f in told["filesystems"]]


def test_ssh_with_the_key_through_a_streamed_program(rig, first, key):
    """sshd is reached at the guest's own address; its bytes come through stdin and stdout of nc."""
    drover = f"{BUILD / 'drover'} --url {rig.url} exec -i --timeout 600 {first['id']} -- nc 10.0.2.15 22"
    words = ["ssh", "-i", key, "-o", f"ProxyCommand={drover}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "BatchMode=yes", "-o", "ConnectTimeout=120", "debian@first", "id -un; echo $SSH_CONNECTION; cat"]
    done = subprocess.run(words, input=b"through\n", capture_output=True, timeout=PATIENCE,
                          env={**os.environ, "DROVER_TOKEN": rig.admin_token()})
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and lines[0] == "debian" and lines[2] == "through", done
    assert lines[1].endswith("10.0.2.15 22")


def test_file_systems_freeze_and_thaw(rig, first):
    frozen = rig.api.post(f"/v1/vms/{first['id']}/agent/freeze", {"seconds": 120}, patience=60)
    assert frozen.status == 200 and frozen.json["filesystems"] >= 1, frozen
    assert rig.api.post(f"/v1/vms/{first['id']}/agent/thaw", patience=60).json["filesystems"] >= 1


def test_a_clone_is_somebody_else(rig, first):
    was = facts(rig, first["id"])
    rig.act(first["id"], "shutdown", seconds=500)
    made = rig.api.post("/v1/images", {"name": "golden", "kind": "disk", "format": "qcow2", "source": {"vm": "first"}})
    assert made.status == 201, made
    eventually(lambda: rig.api.get("/v1/images/golden").json["state"] == "ready", PATIENCE, "the published image", every=1)
    clone = booted(rig, name="second", image="golden", user_data=MULTIPART)
    now = facts(rig, clone["id"])
    for fact in ("hostname", "mac", "instance", "host_key", "uuid", "generation"):
        assert now[fact] != was[fact], fact
    assert (now["hostname"], now["instance"]) == ("second", clone["id"])
    assert now["mac"] == clone["networks"][0]["mac"]
    assert {"id", "generation_id", "mac", "instance_id", "hostname", "ssh_host_keys"} <= set(clone["identity"]["fresh"])
    # The guest's own affair, and we say so.
    assert now["machine_id"] == was["machine_id"] and "machine_id" in clone["identity"]["left_to_guest"]
    assert run(rig, clone["id"], "cat", "/etc/from-the-clone") == "first part\n"
    assert run(rig, clone["id"], "cat", "/etc/from-the-script") == "second: 'part'\n"
    assert run(rig, clone["id"], "cat", "/etc/wicked") == WICKED  # what was on the disk
