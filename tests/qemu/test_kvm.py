"""A boot sector under KVM, where /dev/kvm can be used: the same console, and no emulation."""
import re
from pathlib import Path

from rig import HELLO, qemu_pid

KVM_SECONDS = 240  # where KVM is itself paravirtual, firmware takes its time


def test_hello_under_kvm(rig, need_kvm):
    vm = rig.create(acceleration="kvm", wait="running")
    assert (vm["effective_acceleration"], vm["acceleration_reason"]) == ("kvm", "")
    assert "-accel\0kvm" in Path(f"/proc/{qemu_pid(vm['id'])}/cmdline").read_text()
    with rig.console(vm["id"], subprotocols=["drover.console.v1"], timeout=KVM_SECONDS) as c:
        first = c.control("hello")
        assert (first["offset"], first["oldest"]) == (0, 0)
        c.expect(re.escape(HELLO), seconds=KVM_SECONDS)
        assert c.received == HELLO
        every = bytes(range(256))
        c.send(every)
        c.expect(re.escape(every), seconds=KVM_SECONDS)
    rig.act(vm["id"], "stop")
    assert rig.vm(vm["id"])["state"] == "stopped" and rig.log_raw(vm["id"]).body == HELLO + every
