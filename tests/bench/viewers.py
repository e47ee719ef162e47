"""How fast a console is whose guest never stops printing, in one setting beside another, in turns."""
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("qemu", "support", "guests", "contract")]

from bench import environment_seconds, median  # noqa: E402
from rig import Rig  # noqa: E402

ROUNDS = 5


def rate(rig, vm, seconds):
    """Bytes a second of one viewer, while its guest alone runs."""
    rig.act(vm, "resume")
    viewer = rig.websocket(f"/v1/vms/{vm}/console")
    began, got = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        got += len(viewer.socket.recv(65536))
    viewer.close()
    rig.act(vm, "pause")
    return got / seconds


def compare_consoles(report, sides):
    """sides: {name: what its Rig is made with}. {name: per cent of the first one's}."""
    rates = {name: [] for name in sides}
    with ExitStack() as stack:
        rigs = {name: stack.enter_context(Rig(**made_with)) for name, made_with in sides.items()}
        vms = {name: rig.create("flood", memory_mib=16, wait="console")["id"] for name, rig in rigs.items()}
        for name, rig in rigs.items():
            rig.act(vms[name], "pause")
        for _ in range(ROUNDS):
            for name, rig in rigs.items():
                rates[name].append(rate(rig, vms[name], environment_seconds(2)))
    first = next(iter(rates.values()))
    report.note("a console: " + ", ".join(f"{median(of) / 1000:.0f} kB/s {name}" for name, of in rates.items()))
    return {name: 100 * median([a / b for a, b in zip(of, first)]) for name, of in rates.items()}
