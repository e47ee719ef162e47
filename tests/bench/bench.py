"""What the benchmarks share: programs, medians, figures beside their targets."""
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, Daemon  # noqa: E402, F401

PROGRAMS = BUILD / "tests" / "bench"
# A definition with every member used: the answer is as long as they get in practice.
VM = {"description": "a machine", "labels": {"ci.job": "4711"}, "cpus": 2, "memory_mib": 512,
      "disks": [], "networks": [{"mode": "user"}], "channels": ["org.example.0"], "guest_agent": True,
      "vsock": True, "acceleration": "emulated"}

median = statistics.median


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Report:
    """Prints figures as they come; end() says whether any missed its target."""

    def __init__(self, name):
        self.name, self.missed = name, 0

    def note(self, text):
        print(f"{self.name}: {text}", flush=True)

    def target(self, what, value, limit, unit, at_least=False):
        good = value >= limit if at_least else value <= limit
        self.missed += not good
        sign = ">=" if at_least else "<="
        self.note(f"{what}: {value:.2f} {unit} (target {sign} {limit:g}) {'ok' if good else 'MISSED'}")

    def end(self):
        sys.exit(1 if self.missed else 0)


def run_json(*command, timeout=60):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return json.loads(done.stdout)


def paced(address, path, token, rate, seconds, connections=16):
    host, port = address.rsplit(":", 1)
    return run_json(PROGRAMS / "paced", host, port, path, token, rate, seconds, connections)


class Api:
    """One kept-alive connection to the daemon."""

    def __init__(self, daemon):
        host, port = daemon.address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self.headers = {"Authorization": f"Bearer {daemon.admin_token()}"}

    def call(self, method, path, value=None):
        body, headers = None, self.headers
        if value is not None:
            body, headers = json.dumps(value), {**headers, "Content-Type": "application/json"}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        assert answer.status < 300, (answer.status, data[:400])
        return data

    def create(self, name, **members):
        return json.loads(self.call("POST", "/v1/vms", {**VM, **members, "name": name}))

    def finish(self, operation):
        done = json.loads(self.call("GET", f"/v1/operations/{operation['id']}?wait=30"))
        assert done["state"] == "succeeded", done


def fill(daemon, count, clients=8, **members):
    """Creates vm-0 to vm-COUNT-1 with parallel clients, and waits until all operations are done."""
    numbers, lock, failures = iter(range(count)), threading.Lock(), []

    def work():
        try:
            api = Api(daemon)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                api.create(f"vm-{number}", **members)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    api, end = Api(daemon), time.monotonic() + 600
    while json.loads(api.call("GET", "/v1/operations?state=running&limit=1"))["items"] or \
            json.loads(api.call("GET", "/v1/operations?state=pending&limit=1"))["items"]:
        assert time.monotonic() < end
        time.sleep(0.2)


def processes(pid):
    """It, and the processes that its threads have started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid):
    """What all threads of a process have used, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def free_port():
    import socket
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Program:
    """A program of PROGRAMS that talks over pipes and ends when its stdin closes or it is told to."""

    def __init__(self, name, *arguments, cwd=None):
        self.process = subprocess.Popen([PROGRAMS / name, *map(str, arguments)], stdin=subprocess.PIPE, cwd=cwd,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def line(self):
        text = self.process.stdout.readline()
        assert text, f"the program ended with {self.process.wait()}"
        return text.strip()

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(20)


def environment_seconds(default):
    return float(os.environ.get("BENCH_SECONDS", default))
