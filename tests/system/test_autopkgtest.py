"""The package's own test (deploy/debian/tests), run by autopkgtest on the installed package, in the host itself."""
import re
import subprocess

from installed import ROOT, built

SECONDS = 1500


def test_autopkgtest_is_content(service, host, tmp_path):
    tree = tmp_path / "drover"
    subprocess.run([ROOT / "deploy/package", "--tree", tree], check=True)
    host.copy([tree, built()], "/root/autopkgtest")
    # 0: every test passed, and at least one was there. The .deb is the one that is installed already.
    status, said = host.run(f"cd /root/autopkgtest && rm -rf out && autopkgtest -B -o out drover/ ./{built().name} -- null",
                            check=False, seconds=SECONDS)
    assert status == 0 and re.search(r"^guest +PASS", said, re.M), said[-6000:]
    host.run("rm -r /root/autopkgtest")
    service.wait_ready()
