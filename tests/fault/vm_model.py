"""The life of the VMs of one name, as a client may see it: a small machine that answers like Drover.

An answer to a write is its effect on what is stored; what it set in motion comes later, by itself: an
operation has its effect on the guest, the state shows it, the operation ends, in this order, one operation
of a VM after the other. So an operation that was seen to have succeeded has its effect in every later
read. libvirt's own news reach the state at any time, but never while a start is awaited.

Requests are tuples, and so are answers (None: not known):

    ("create", key, start, description, how)    ("created", id, state) or ("refused", code)
    ("read", ref)                          ("vm", id, generation, description, state) or ("refused", code)
    ("list",)                              ("list", ((id, generation, description, state), ...)): of this name
    ("patch", ref, description, generation)     the same; generation None: no If-Match
    ("act", ref, verb, key, generation)    ("accepted", operation) or ("refused", code)
    ("operation", id)                      ("state", "unfinished" | "succeeded" | "failed" | "cancelled")
    ("link", "down" | "up")                ("done",): libvirt may be away, and its guests have lost their power

ref is an id, or None for the name. What has no id that is known (its answer was lost) has a token instead
until an answer shows which it is. A key's fingerprint is everything in the request but the key.
"""
from collections import namedtuple

State = namedtuple("State", "vms keys away")
# queue: (operation, kind) in order of acceptance; done: how far the first one is, 0 to 3. What is in no queue
# has ended, in the way that the history itself says (an end is an end: every read must say the same).
# waits: shutdowns whose guest is off, and of which nobody has said so yet; what comes after them need not wait.
Vm = namedtuple("Vm", "id generation description state power queue done waits", defaults=((),))

ALLOWED = {"start": {"stopped", "saved", "failed"}, "shutdown": {"running"}, "pause": {"running"}, "resume": {"paused"},
           "stop": {"running", "paused", "starting", "stopping", "saved", "failed"}, "save": {"running", "paused"},
           "delete": {"stopped", "saved", "failed"}}
STARTS = ("start", "create+start")
ENDS = ("succeeded", "failed", "cancelled")
GONE = "gone"


def shown(vm):
    """What libvirt says of it, as its state."""
    return vm.power if vm.power != "off" else "failed" if vm.state == "failed" else "stopped"


class VmModel:
    initial = State((), frozenset(), False)

    def __init__(self, calls):
        """Looks over the whole history once: which keys are used again, what they made, which ends are read."""
        keys = [k for k in map(self._key, calls) if k]
        self.again = {k for k in keys if keys.count(k) > 1}
        self.of_key = {self._key(c): c.answer[1] for c in calls
                       if c.answer and c.answer[0] in ("created", "accepted") and self._key(c)}
        self.created = {c.answer[1] for c in calls if c.answer and c.answer[0] == "created"}
        self.read = {c.request[1] for c in calls if c.request[0] == "operation"}
        self.ends = {c.request[1]: c.answer[1] for c in calls
                     if c.request[0] == "operation" and c.answer and c.answer[1] in ENDS}

    @staticmethod
    def _key(call):
        return {"create": 1, "act": 3}.get(call.request[0]) and call.request[{"create": 1, "act": 3}[call.request[0]]]

    # ---- what happens by itself ----

    def silent(self, state):
        for i, vm in enumerate(state.vms):
            for changed in self._alone(vm, state.away):
                yield state._replace(vms=state.vms[:i] + ((changed,) if changed else ()) + state.vms[i + 1:])

    def _alone(self, vm, away):
        """The VM after it; None: nothing is left of it."""
        if away and vm.power != "off":
            yield vm._replace(power="off")
        if away and vm.done and vm.state != GONE:
            yield vm._replace(done=0)
        # Who was asked to shut down runs until he is off.
        asked = vm.state == "stopping" and vm.power in ("running", "paused")
        if vm.state not in ("deleting", GONE, shown(vm)) and not asked and not (vm.state == "starting" and vm.queue):
            yield vm._replace(state=shown(vm))
        if vm.state not in ("running", "stopping", "paused"):
            for operation in vm.waits:
                if self.ends.get(operation, "succeeded") == "succeeded":
                    yield self._left(vm._replace(waits=tuple(op for op in vm.waits if op != operation)))
        if vm.queue:
            yield from self._work(vm)

    def _end(self, vm, how):
        if self.ends.get(vm.queue[0][0], how) == how:
            yield self._left(vm._replace(queue=vm.queue[1:], done=0))

    @staticmethod
    def _left(vm):
        return None if vm.state == GONE and not vm.queue and not vm.waits else vm

    def _over(self, vm):
        """Its effect is there and shows; that its end comes later matters to who reads it only."""
        if vm.queue[0][0] in self.read:
            yield vm._replace(done=2)
        else:
            yield from self._end(vm, "succeeded")

    def _work(self, vm):
        """The first operation's next step."""
        kind = vm.queue[0][1]
        # Also one that had begun: it begins again after a crash of the daemon or a loss of libvirt.
        if vm.state == "deleting" and kind != "delete":
            yield from self._end(vm, "cancelled")
        if vm.done >= 2:
            yield from self._end(vm, "succeeded" if vm.done == 2 else "failed")
            return
        if vm.done == 1 and kind == "shutdown":
            operation = vm.queue[0][0]
            left = vm._replace(queue=vm.queue[1:], done=0, waits=vm.waits + (operation,) * (operation in self.read))
            yield self._looked(left)
            if vm.state == "starting":  # somebody saw that it is off, and asked for that meanwhile
                yield left
            return
        if vm.done == 1:  # the guest is as was asked for; now it is looked at, whatever else is queued
            yield from self._over(self._looked(vm))
            return
        if kind == "create":
            yield from self._end(vm, "succeeded")
        elif kind in STARTS:
            if vm.state not in ("deleting", "starting"):
                yield vm._replace(state="starting")
            yield from self._over(vm._replace(power="running", state="deleting" if vm.state == "deleting" else "running"))
        elif kind == "stop":
            yield vm._replace(power="off", done=1, state="stopped" if vm.state == "failed" else vm.state)
        elif kind == "delete":
            yield from self._over(vm._replace(state=GONE, power="off"))
        elif kind == "shutdown":
            yield from self._shut_down(vm)
        elif vm.power == "off" or (vm.power == "saved" and kind != "save"):
            yield self._looked(vm)._replace(done=3)
        elif kind == "save":
            yield vm._replace(power="saved", done=1)
        else:
            yield vm._replace(power="paused" if kind == "pause" else "running", done=1)

    def _shut_down(self, vm):
        asked = vm if vm.state == "deleting" else vm._replace(state="stopping")
        if asked != vm:
            yield asked
        if vm.power != "saved":  # the test driver's guests obey at once, also those that are paused
            yield asked._replace(power="off", done=1)
        # Libvirt refuses; also one whose domain went with libvirtd.
        if vm.power in ("off", "saved"):
            yield self._looked(vm)._replace(done=3)

    @staticmethod
    def _looked(vm):
        return vm if vm.state == "deleting" else vm._replace(state=shown(vm))

    # ---- what is asked ----

    def step(self, state, call):
        return getattr(self, "_" + call.request[0])(state, call, call.answer, *call.request[1:])

    def _find(self, state, ref):
        """By id; by name the one that has it, or else the youngest that is about to go."""
        if ref is not None:
            return next((vm for vm in state.vms if vm.id == ref and vm.state != GONE), None)
        there = [vm for vm in state.vms if vm.state != GONE]
        return next((vm for vm in there if vm.state != "deleting"), there[-1] if there else None)

    @staticmethod
    def _put(state, old, new, **more):
        return state._replace(vms=tuple(new if vm is old else vm for vm in state.vms), **more)

    def _seen(self, state, vm, answer):
        """The states in which the VM reads like that; its id may become known by it."""
        if answer is None:
            yield state
        elif answer[0] == "vm" and (vm.generation, vm.description, vm.state) == answer[2:]:
            if vm.id == answer[1]:
                yield state
            elif isinstance(vm.id, tuple) and answer[1] not in self.created:
                yield self._put(state, vm, vm._replace(id=answer[1]))

    @staticmethod
    def _refused(state, answer, code):
        return (state,) if answer in (None, ("refused", code)) else ()

    @staticmethod
    def _went(state, answer, ref):
        """A write by name is one to the VM that had it when it came: if that is gone by now, it says so, although
        another one, about to go or new, may have the name. Intended: nothing is done to a VM that was not meant."""
        if ref is None and answer == ("refused", "vm-not-found") and any(vm.state in ("deleting", GONE) for vm in state.vms):
            yield state

    def _known(self, state, key, fingerprint):
        """(what the key made, whether it was for the same) or None"""
        return next(((made, print_ == fingerprint) for k, made, print_ in state.keys if k == key), None)

    def _keyed(self, state, key, made, fingerprint):
        return state.keys | {(key, made, fingerprint)} if key in self.again else state.keys

    def _create(self, state, call, answer, key, start, description, how=""):
        fingerprint = ("create", start, description, how)
        known = self._known(state, key, fingerprint) if key else None
        if known and not known[1]:
            yield from self._refused(state, answer, "key-reused")
            return
        if known:
            vm = self._find(state, known[0])
            if answer is None or answer == (("created", known[0], vm.state) if vm else ("refused", "vm-not-found")):
                yield state
            return
        if state.away:
            yield from self._refused(state, answer, "hypervisor-unavailable")
        if any(vm.state not in ("deleting", GONE) for vm in state.vms):
            yield from self._refused(state, answer, "name-in-use")
            return
        shows = "starting" if start else "stopped"
        if answer is not None and (answer[0], answer[2:]) != ("created", (shows,)):
            return
        made = answer[1] if answer else self.of_key.get(key) or ("?", call.begin)
        if any(vm.id == made for vm in state.vms):
            return
        kind = "create+start" if start else "create"
        vm = Vm(made, 1, description, shows, "off", ((("create", made), kind),), 0)
        yield state._replace(vms=state.vms + (vm,), keys=self._keyed(state, key, made, fingerprint))

    def _read(self, state, _call, answer, ref):
        vm = self._find(state, ref)
        return self._seen(state, vm, answer) if vm else self._refused(state, answer, "vm-not-found")

    def _list(self, state, _call, answer):
        """All that have the name, at one moment."""
        there = [vm for vm in state.vms if vm.state != GONE]
        states = [state] if answer is None or len(answer[1]) == len(there) else []
        for vm, seen in zip(there, answer[1] if answer else ()):
            states = [s for before in states for s in self._seen(before, vm, ("vm", *seen))]
        yield from states

    def _patch(self, state, _call, answer, ref, description, generation):
        yield from self._went(state, answer, ref)
        vm = self._find(state, ref)
        if not vm:
            yield from self._refused(state, answer, "vm-not-found")
        elif generation is not None and generation != vm.generation:
            yield from self._refused(state, answer, "precondition-failed")
        elif vm.state == "deleting":
            yield from self._refused(state, answer, "vm-state-conflict")
        else:
            new = vm
            if description != vm.description:
                new = vm._replace(description=description, generation=vm.generation + 1)
            yield from self._seen(self._put(state, vm, new), new, answer)

    def _act(self, state, call, answer, ref, verb, key, generation):
        fingerprint = ("act", ref, verb, generation)
        known = self._known(state, key, fingerprint) if key else None
        if known:
            if not known[1]:
                yield from self._refused(state, answer, "key-reused")
            elif answer in (None, ("accepted", known[0])):
                yield state
            return
        yield from self._went(state, answer, ref)
        vm = self._find(state, ref)
        if not vm:
            yield from self._refused(state, answer, "vm-not-found")
            return
        if state.away:
            yield from self._refused(state, answer, "hypervisor-unavailable")
        forced, kind = verb == "delete+force", verb.split("+", maxsplit=1)[0]
        if generation is not None and generation != vm.generation:
            yield from self._refused(state, answer, "precondition-failed")
        elif vm.state == "deleting" or (not forced and vm.state not in ALLOWED[kind]):
            yield from self._refused(state, answer, "vm-state-conflict")
        elif answer is None or answer[0] == "accepted":
            operation = answer[1] if answer else self.of_key.get(key) or ("?", call.begin)
            if any(op == operation for other in state.vms for op in self._open(other)):
                return
            new = vm._replace(queue=vm.queue + ((operation, kind),),
                              state={"start": "starting", "delete": "deleting"}.get(kind, vm.state))
            yield self._put(state, vm, new, keys=self._keyed(state, key, operation, fingerprint))

    @staticmethod
    def _open(vm):
        return [op for op, _ in vm.queue] + list(vm.waits)

    def _operation(self, state, _call, answer, operation):
        waits = any(op == operation for vm in state.vms for op in self._open(vm))
        end = "unfinished" if waits else self.ends.get(operation)
        return (state,) if answer in (None, ("state", end)) else ()

    def _link(self, state, _call, _answer, where):
        return (state._replace(away=where == "down"),)
