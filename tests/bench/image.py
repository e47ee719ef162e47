#!/usr/bin/python3
"""Images: an overlay, an import over loopback HTTP, an upload; each beside what it is measured against.

    tests/bench/image.py [--mib 1024]      DROVER_BUILD names the (release) build
"""
import argparse
import datetime
import functools
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from daemon import BUILD, Daemon, eventually  # noqa: E402


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # whoever only looks at the first bytes goes away early


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def rss_kib(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def timed(fn):
    began = time.monotonic()
    result = fn()
    return time.monotonic() - began, result


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def curl(file, url, *more):
    subprocess.run(["curl", "-sS", "--fail", "-o", "/dev/null", "-H", "Expect:", "-T", file, *more, url], check=True)


class Sink:
    """A bare libmicrohttpd: it drops what it gets, or with a file writes, hashes and syncs it."""

    def __init__(self, *keep):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        self.process = subprocess.Popen([BUILD / "tests/bench/bare_mhd", self.url.split(":")[2].strip("/"), *keep],
                                        stdout=subprocess.DEVNULL)
        eventually(lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", self.url], check=False).returncode == 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def hashing(raw):
    """Seconds that SHA-256 alone takes for the same bytes, by the same library: no upload that is hashed is faster."""
    block, digest, seconds = bytearray(1 << 20), hashlib.sha256(), 0
    with open(raw, "rb", buffering=0) as file:
        while n := file.readinto(block):
            seconds += timed(lambda n=n: digest.update(memoryview(block)[:n]))[0]
    return seconds


def upload(daemon, api, raw, size):
    """curl into the daemon (hashed, inspected, synced), and into two that are nothing but libmicrohttpd; in turns."""
    ours, bare, keeps, hashes = [], [], [], []
    kept = daemon.state_dir / "kept"  # the same file system
    before = rss_kib(daemon.pid)
    with Sink() as sink, Sink("--keep", kept) as keeper:
        for i in range(5):
            bare.append(timed(lambda: curl(raw, sink.url))[0])
            keeps.append(timed(lambda: curl(raw, keeper.url))[0])
            kept.unlink()
            hashes.append(hashing(raw))
            api.post("/v1/images", {"name": f"up-{i}", "kind": "disk", "format": "raw"})
            ours.append(timed(lambda i=i: curl(raw, f"{daemon.url}/v1/images/up-{i}/content", "-H",
                                               f"Authorization: Bearer {daemon.admin_token()}"))[0])
            api.delete(f"/v1/images/up-{i}")
    took = min(ours)
    print(f"curl into bare libmicrohttpd   {size / min(bare) / 1e6:8.0f} MB/s")
    print(f"... that keeps the bytes       {size / min(keeps) / 1e6:8.0f} MB/s (written, hashed, synced)")
    print(f"SHA-256 alone                  {size / min(hashes) / 1e6:8.0f} MB/s  {100 * min(bare) / min(hashes):.0f} % of the "
          "one that drops them: the bound of what hashes them")
    print(f"upload                         {size / took / 1e6:8.0f} MB/s  {100 * min(bare) / took:.0f} % of the one that "
          f"drops them (target 60), {100 * min(hashes) / took:.0f} % of SHA-256 alone, "
          f"{100 * min(keeps) / took:.0f} % of the one that keeps them, "
          f"memory grew by {rss_kib(daemon.pid) - before} KiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=512)
    size = parser.parse_args().mib << 20
    with tempfile.TemporaryDirectory() as folder, Daemon(settings={"fetch_private": 1, "free_space_floor_mib": 0}) as daemon:
        api = daemon.client()
        raw = Path(folder) / "disk.raw"
        with open(raw, "wb") as file:
            block = os.urandom(1 << 20)
            for i in range(size >> 20):
                file.write(i.to_bytes(8, "big") + block[8:])
        digest = hashlib.file_digest(open(raw, "rb"), "sha256").hexdigest()
        floor, _ = timed(lambda: (subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", raw, f"{raw}.copy"], check=True),
                                  subprocess.run(["sha256sum", raw], check=True, stdout=subprocess.DEVNULL)))
        os.unlink(f"{raw}.copy")
        print(f"qemu-img convert + sha256sum   {size / floor / 1e6:8.0f} MB/s")

        httpd = Server(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        before = rss_kib(daemon.pid)

        def bring():
            body = {"name": "bench", "kind": "disk", "format": "raw",
                    "source": {"url": f"http://127.0.0.1:{httpd.server_port}/disk.raw", "sha256": digest}}
            image = api.post("/v1/images", body).json
            done = api.get(f"/v1/operations/{image['operation']['id']}", wait=600, patience=700).json
            assert done["state"] == "succeeded", done

        took, _ = timed(bring)
        print(f"import                         {size / took / 1e6:8.0f} MB/s  {100 * floor / took:.0f} % of it, "
              f"memory grew by {rss_kib(daemon.pid) - before} KiB")
        api.delete("/v1/images/bench")
        httpd.shutdown()

        upload(daemon, api, raw, size)

        image = api.post("/v1/images", {"name": "big", "kind": "disk", "format": "qcow2"}).json
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{folder}/big.qcow2", "10G"], check=True)
        api.put(f"/v1/images/{image['id']}/content", Path(f"{folder}/big.qcow2").read_bytes())
        sizes, times = [], []
        for i in range(20):
            vm = api.post("/v1/vms", {"name": f"vm-{i}", "image": "big", "vsock": False}).json
            done = api.get(f"/v1/operations/{vm['operation']['id']}", wait=30).json
            assert done["state"] == "succeeded", done
            disk = daemon.state_dir / "vms" / vm["id"] / "root.qcow2"
            eventually(disk.exists)
            sizes.append(disk.stat().st_blocks * 512)
            times.append((moment(done["finished_at"]) - moment(done["started_at"])) * 1000)
        print(f"overlay for 10 GiB             {statistics.median(times):8.0f} ms (target < 20), "
              f"{max(sizes) / 1024:.0f} KiB on the disk (target < 1024)")


if __name__ == "__main__":
    main()
