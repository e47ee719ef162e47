"""What cloud-init finds, and who gets to see it: on libvirt's test driver, the seeds read from the disk."""
import json

import pytest
import yaml

KEY = "ssh-ed25519 " + "A" * 68
WICKED = ["#cloud-config\nruncmd: ['echo \"$HOME\"']\n", "]]></user-data><domain>&amp;", "--- !!python/object:os.system\n",
          "a: b\r\nContent-Type: multipart/mixed; boundary=\"x\"\r\n\r\n--x--", "\ttab\n'quote'\n\"double\"\n\\n", "ünïcødé 🐑"]


def seed(daemon, vm):
    return (daemon.state_dir / "vms" / vm["id"] / "seed.iso").read_bytes()


def part(image, begin):
    """A member of the image: they lie there as they are, from one sector to the next."""
    at = image.index(begin)
    assert at % 2048 == 0
    return image[at:image.index(b"\0", at)]


@pytest.mark.parametrize("text", WICKED, ids=range(len(WICKED)))
def test_user_data_goes_through_untouched(daemon, api, make_vm, text):
    vm = make_vm(user_data=text, description=text.replace("\r", ""), ssh_keys=[KEY + " it's \"me\" <x>: #"])
    image = seed(daemon, vm)
    assert text.encode() in image
    assert image[0x8028:0x8048].strip().lower() == b"cidata"
    meta = yaml.safe_load(part(image, b'{"instance-id"'))
    assert meta == {"instance-id": vm["id"], "local-hostname": vm["name"], "public-keys": [KEY + " it's \"me\" <x>: #"]}
    network = yaml.safe_load(part(image, b'{"version"'))
    assert network["ethernets"]["nic0"]["match"]["macaddress"] == vm["networks"][0]["mac"]
    answer = api.get(f"/v1/vms/{vm['id']}/user-data")
    assert answer.status == 200 and answer.body == text.encode()


def test_an_address_of_its_own(daemon, api, make_vm):
    card = {"mode": "user", "mac": "02:00:00:00:00:44", "address": "10.40.7.10/24", "gateway": "10.40.7.1",
            "nameservers": ["9.9.9.9", "10.40.7.1"]}
    vm = make_vm(networks=[card])
    assert vm["networks"] == [card]
    network = yaml.safe_load(part(seed(daemon, vm), b'{"version"'))["ethernets"]["nic0"]
    assert network == {"match": {"macaddress": card["mac"]}, "dhcp4": False, "addresses": [card["address"]],
                       "routes": [{"to": "0.0.0.0/0", "via": card["gateway"]}], "nameservers": {"addresses": card["nameservers"]}}
    changed = api.patch(f"/v1/vms/{vm['id']}", {"networks": [{"mode": "user", "mac": card["mac"]}]}).json
    assert changed["networks"] == [{"mode": "user", "mac": card["mac"]}]


def test_user_data_is_a_secret(daemon, api, make_vm):
    vm = make_vm(user_data="#cloud-config\npassword: hidden-word\n")
    assert vm["has_user_data"] is True and "user_data" not in vm
    changed = api.patch(f"/v1/vms/{vm['id']}", {"user_data": "#cloud-config\npassword: other-hidden-word\n"})
    assert changed.status == 200 and changed.json["etag"] != vm["etag"]
    for path in (f"/v1/vms/{vm['id']}", "/v1/vms", "/v1/events", "/v1/operations"):
        assert "hidden-word" not in api.get(path, limit=1000 if path.count("/") == 2 else None).text
    assert "hidden-word" not in daemon.log()
    viewer = daemon.client(api.post("/v1/tokens", {"name": "v", "role": "viewer"}).json["token"])
    assert viewer.get(f"/v1/vms/{vm['id']}/user-data").status == 403
    assert b"other-hidden-word" in api.get(f"/v1/vms/{vm['id']}/user-data").body


def test_a_change_keeps_what_it_does_not_name(api, make_vm):
    vm = make_vm(user_data="#cloud-config\n", ssh_keys=[KEY])
    assert api.patch(f"/v1/vms/{vm['id']}", {"cpus": 2}).json["has_user_data"]
    assert api.get(f"/v1/vms/{vm['id']}/user-data").body == b"#cloud-config\n"
    gone = api.patch(f"/v1/vms/{vm['id']}", {"user_data": None, "ssh_keys": None}).json
    assert not gone["has_user_data"] and gone["ssh_keys"] == []
    answer = api.get(f"/v1/vms/{vm['id']}/user-data")
    assert answer.status == 404 and answer.code == "not-found"


def test_each_vm_is_somebody_else(daemon, api, name):
    made = [api.post("/v1/vms", {"name": name("same"), "cloud_init": True}, patience=30) for _ in range(3)]
    assert all(m.status == 201 for m in made)
    vms = [m.json for m in made]
    for member in ("id", "vsock_cid", "name"):
        assert len({vm[member] for vm in vms}) == 3
    assert len({vm["networks"][0]["mac"] for vm in vms}) == 3
    told = vms[0]["identity"]
    assert {"id", "mac", "vsock_cid", "generation_id", "instance_id", "hostname"} <= set(told["fresh"])
    assert told["left_to_guest"] == ["machine_id"]
    bare = api.post("/v1/vms", {"name": name("bare")}).json["identity"]
    assert "hostname" in bare["left_to_guest"] and "instance_id" not in bare["fresh"]


def test_no_seed_without_a_reason(daemon, make_vm):
    vm = make_vm()
    assert not (daemon.state_dir / "vms" / vm["id"] / "seed.iso").exists()


@pytest.mark.parametrize("member, pointer", [
    ({"user_data": 7}, "/user_data"), ({"user_data": "x" * 262145}, "/user_data"), ({"ssh_keys": "x"}, "/ssh_keys"),
    ({"ssh_keys": ["x"]}, "/ssh_keys/0"), ({"ssh_keys": [KEY, "command=\"x\" " + KEY]}, "/ssh_keys/1"),
    ({"ssh_keys": [KEY + "\nssh-rsa x"]}, "/ssh_keys/0"), ({"ssh_keys": [KEY] * 65}, "/ssh_keys"),
    ({"cloud_init": "yes"}, "/cloud_init"), ({"has_user_data": True}, "/has_user_data"),
])
def test_bad_seeds(api, member, pointer):
    answer = api.post("/v1/vms", {"name": "never", **member})
    assert answer.status == 422 and answer.json["pointer"] == pointer, answer
    assert api.get("/v1/vms/never").status == 404


def test_as_much_as_is_promised(api, make_vm):
    text = "#" + "x" * 262143
    vm = make_vm(user_data=text)
    assert api.get(f"/v1/vms/{vm['id']}/user-data").body == text.encode()


# ---- waiting ----

def test_waiting_for_what_is_so(api, make_vm):
    vm = make_vm(start=True)
    answer = api.get(f"/v1/vms/{vm['id']}/wait", **{"for": "running"})
    assert answer.status == 200 and answer.json["state"] == "running"


def test_waiting_for_what_cannot_come(api, make_vm):
    vm = make_vm()
    for query in ({"for": "running"}, {"for": "agent"}, {"for": "ip"}, {"pattern": "x"}):
        answer = api.get(f"/v1/vms/{vm['id']}/wait", timeout=30, **query)
        assert answer.status == 409 and "stopped" in answer.json["detail"], (query, answer)


def test_waiting_has_an_end(api, make_vm):
    vm = make_vm(start=True)
    answer = api.get(f"/v1/vms/{vm['id']}/wait", **{"for": "ip", "timeout": 1})
    assert answer.status == 504 and "address" in answer.json["detail"]
    answer = api.get(f"/v1/vms/{vm['id']}/wait", pattern="login", timeout=1)
    assert answer.status == 504 and "print" in answer.json["detail"]


def test_a_new_vm_that_does_not_get_there_stays(api, name):
    who = name("waits")
    answer = api.post("/v1/vms", {"name": who, "start": True}, wait="ip", timeout=1)
    assert answer.status == 504 and "exists" in answer.json["detail"] and answer.json["remedy"]
    assert api.get(f"/v1/vms/{who}").status == 200
    api.delete(f"/v1/vms/{who}", force=True, wait=30)


@pytest.mark.parametrize("query, pointer", [
    ({}, "for"), ({"for": "luck"}, "for"), ({"for": "ip", "pattern": "x"}, "pattern"), ({"pattern": "("}, "pattern"),
    ({"pattern": "x" * 513}, "pattern"), ({"for": "ip", "timeout": 0}, "timeout"), ({"for": "ip", "timeout": 601}, "timeout"),
])
def test_bad_waits(api, make_vm, query, pointer):
    vm = make_vm()
    answer = api.get(f"/v1/vms/{vm['id']}/wait", **query)
    assert answer.status == 400 and answer.json["pointer"] == pointer, answer


def test_a_wait_needs_a_start(api):
    answer = api.post("/v1/vms", {"name": "never"}, wait_for_console="x")
    assert answer.status == 400 and answer.json["pointer"] == "wait_for_console"
    assert api.get("/v1/vms/never").status == 404
    assert json.loads(api.get("/v1/vms/nobody/wait", **{"for": "ip"}).text)["code"] == "vm-not-found"
