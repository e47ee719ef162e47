#!/usr/bin/python3
"""What the network's own process costs (network_process): droverd with it beside droverd without, in turns."""
from bench import Api, Daemon, Report, cpu_seconds, environment_seconds, median, paced, processes
from viewers import compare_consoles

ROUNDS = 9
SIDES = ("never", "always")


class Side:
    def __init__(self, wish):
        self.daemon = Daemon(libvirt="test:///default", settings={"network_process": wish}).start()
        self.api = Api(self.daemon)
        vm = self.api.create("web-1")
        self.api.finish(vm["operation"])
        self.path, self.token = f"/v1/vms/{vm['id']}", self.daemon.admin_token()
        self.pids = processes(self.daemon.pid)
        self.rates, self.cpu = [], []

    def spent(self):
        return sum(map(cpu_seconds, self.pids))

    def measure(self, path, connections, seconds):
        before = self.spent()
        result = paced(self.daemon.address, path, self.token, 0, seconds, connections)
        self.cpu.append(1e6 * (self.spent() - before) / result["requests"])
        self.rates.append(result["per_second"])


def compare(report, what, sides, measure):
    for side in sides.values():
        side.rates, side.cpu = [], []
    for _ in range(ROUNDS):
        for side in sides.values():
            measure(side)
    share = 100 * median([a / n for a, n in zip(sides["always"].rates, sides["never"].rates)])
    for name, side in sides.items():
        report.note(f"{what}, {name}: {median(side.rates):.0f} requests/s, CPU {median(side.cpu):.2f} us a request")
    return share


def main():
    report, seconds = Report("front"), environment_seconds(0.7)
    sides = {}
    try:
        for wish in SIDES:
            sides[wish] = Side(wish)
        many = compare(report, "16 connections", sides, lambda s: s.measure(s.path, 16, seconds))
        one = compare(report, "one connection", sides, lambda s: s.measure(s.path, 1, seconds))
        page = compare(report, "a file of the dashboard", sides, lambda s: s.measure("/", 16, seconds))
        report.note(f"of the rate without it: one connection {one:.0f} %, a file {page:.0f} %")
        report.target("requests of 16 connections, of the rate without it", many, 50, "%", at_least=True)
    finally:
        for side in sides.values():
            side.daemon.close()
    share = compare_consoles(report, {wish: {"settings": {"network_process": wish}} for wish in SIDES})
    report.target("a console, of its rate without it", share["always"], 75, "%", at_least=True)
    report.end()


main()
