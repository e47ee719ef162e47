"""Random walks of real guests, each against a small model of what a VM may do: several at once, with viewers
that come and go, so that what looks at a VM and what changes it meet in every order."""
import os
import random
import threading

from rig import SLOW, eventually, processes

LONG = bool(os.environ.get("DROVER_TEST_LONG"))
SEED = int(os.environ.get("DROVER_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
# What each verb makes of each state; a state that is not there refuses it and stays as it is.
MODEL = {
    "start": {"stopped": "running", "saved": "running"},
    "stop": {"running": "stopped", "paused": "stopped", "saved": "stopped"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "reset": {"running": "running", "paused": "paused"},
    "save": {"running": "saved", "paused": "saved"},
}


def walk(rig, name, steps, seed, problems):
    """Every answer and every state in between is as the model has it."""
    dice, history, awake = random.Random(seed), [], False  # awake: past its firmware
    try:
        vm, state = rig.create(name=name, start=False)["id"], "stopped"
        for _ in range(steps):
            verb = dice.choice([*MODEL, "delete", "look", "look"])
            history.append(f"{state} {verb}")
            if verb == "reset" and not awake and state in ("running", "paused"):
                state = wake(rig, vm, state, dice)
            if verb == "look":
                awake = look(rig, vm, state, dice) or awake
            elif verb == "delete":
                rig.delete(vm)
                assert rig.api.get(f"/v1/vms/{name}").status == 404 and not processes(vm)
                vm, state, awake = rig.create(name=name, start=False)["id"], "stopped", False
            else:
                was, state = state, act(rig, vm, verb, state)
                awake = awake and verb != "reset" and was != "stopped"
            found = rig.vm(vm)
            assert found["state"] == state, found
            assert bool(processes(vm)) == (state in ("running", "paused")), found
    except Exception as error:  # pylint: disable=broad-exception-caught  # told by the thread that waits
        problems.append(f"{name}: {' · '.join(history[-12:])}: {error!r}")


def act(rig, vm, verb, state):
    answer = rig.api.post(f"/v1/vms/{vm}/{verb}", wait=90, patience=120)
    if state not in MODEL[verb]:
        assert answer.status == 409 and answer.code == "vm-state-conflict", (verb, answer)
        return state
    assert answer.status == 200 and answer.json["state"] == "succeeded", (verb, answer)
    return MODEL[verb][state]


def is_echoed(console, word):
    """What is typed while the firmware still begins is lost, on any machine."""
    console.send(word)
    try:
        return console.expect(word)
    except TimeoutError:
        return False


def converse(rig, vm, dice):
    word = f"{dice.getrandbits(40):x}".encode()
    with rig.console(vm) as c:
        c.socket.socket.settimeout(2)  # for each try to be heard
        eventually(lambda: is_echoed(c, word), SLOW, "its echo")


def wake(rig, vm, state, dice):
    """QEMU's q35 keeps its PAM registers at a reset: one that comes before the firmware has copied itself to
    where they point finds nothing there, and only switching it off helps."""
    state = act(rig, vm, "resume", state) if state == "paused" else state
    converse(rig, vm, dice)
    return state


def look(rig, vm, state, dice):
    """What a person does beside it; none of it may change anything. True: the guest has answered."""
    if state == "running" and dice.random() < 0.6:
        converse(rig, vm, dice)
        return True
    assert rig.api.get(f"/v1/vms/{vm}/stats").status == 200
    assert rig.api.get(f"/v1/vms/{vm}/console/log").status in (200, 409)  # it may never have run
    return False


def test_walks_end_where_the_model_ends(rig):
    rig.ensure_image("hello")
    problems = []
    walkers = [threading.Thread(target=walk, args=(rig, f"walk-{i}", 400 if LONG else 25, SEED + i, problems))
               for i in range(4)]
    for t in walkers:
        t.start()
    for t in walkers:
        t.join()
    assert not problems, f"DROVER_TEST_SEED={SEED}\n" + "\n".join(problems)
    failed = rig.api.get("/v1/operations", state="failed", limit=1000).json["items"]
    assert not failed, f"DROVER_TEST_SEED={SEED} {failed}"
    eventually(lambda: not rig.api.get("/v1/operations", state="running").json["items"], SLOW, "no work left")


def quarrel(rig, names, steps, seed, asked, problems):
    """Asks without waiting, of VMs of which others ask something else."""
    dice = random.Random(seed)
    try:
        for _ in range(steps):
            name, verb = dice.choice(names), dice.choice([*MODEL, *MODEL, "delete"])
            path = f"/v1/vms/{name}"
            if verb == "delete":
                answer = rig.api.delete(path, force=True)
            else:
                answer = rig.api.post(f"{path}/{verb}")
            assert answer.status in (202, 404, 409), (verb, answer)
            if answer.status == 202:
                asked.append(answer.json["id"])
            if verb == "delete" or answer.status == 404:
                answer = rig.api.post("/v1/vms", {"name": name, "image": "hello", "memory_mib": 16, "networks": [],
                                                  "acceleration": "emulated"})
                assert answer.status in (201, 409), answer
            if dice.random() < 0.3 and asked:
                rig.api.get(f"/v1/operations/{dice.choice(asked)}", wait=20, patience=60)
    except Exception as error:  # pylint: disable=broad-exception-caught
        problems.append(repr(error))


def test_whoever_quarrels_about_a_vm_it_ends_somewhere(rig):
    """Each operation ends; one that came too late says so; afterwards the API, libvirt and the kernel agree."""
    rig.ensure_image("hello")
    rig.expect_warning(r"operation .* failed: .* code=vm-(state-conflict|not-found)")
    names, asked, problems = ["quarrel-1", "quarrel-2"], [], []
    clients = [threading.Thread(target=quarrel, args=(rig, names, 1000 if LONG else 60, SEED + 100 + i, asked, problems))
               for i in range(3)]
    for t in clients:
        t.start()
    for t in clients:
        t.join()
    assert not problems, f"DROVER_TEST_SEED={SEED} {problems}"
    for one in asked:
        eventually(lambda one=one: rig.api.get(f"/v1/operations/{one}").json["finished_at"], SLOW, f"end of {one}")
    for op in rig.api.get("/v1/operations", state="failed", limit=1000).json["items"]:
        assert op["error"]["code"] in ("vm-state-conflict", "vm-not-found"), f"DROVER_TEST_SEED={SEED} {op}"
    for name in names:
        found = rig.api.get(f"/v1/vms/{name}").json
        if "state" in found and found.get("id"):
            on = found["state"] in ("running", "paused")
            eventually(lambda vm=found["id"], on=on: bool(processes(vm)) == on, 20, f"agreement on {found}")
            assert found["state"] in ("running", "paused", "stopped", "saved"), f"DROVER_TEST_SEED={SEED} {found}"
            rig.delete(found["id"])
