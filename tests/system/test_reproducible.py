"""The same source makes the same package, byte for byte, wherever and by whomever it is built."""
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(os.environ.get("DROVER_PACKAGE", "/nonexistent"))


@pytest.fixture(scope="module", autouse=True)
def leave_nothing():
    """Instead of the folder's, which would boot the reference host."""


def digest(folder):
    found = list(folder.glob("drover_*.deb"))
    assert len(found) == 1, found
    return hashlib.sha256(found[0].read_bytes()).hexdigest()


@pytest.mark.skipif(not PACKAGE.is_dir(), reason="DROVER_PACKAGE names no folder with a package")
def test_another_path_mask_zone_and_language_change_nothing(tmp_path):
    tree = tmp_path / "a-longer-name-than-the-other"
    subprocess.run(["git", "clone", "-q", ROOT, tree], check=True)
    done = subprocess.run(["sh", "-c", "umask 077; exec deploy/package --out ../made"], cwd=tree, check=False, timeout=2400,
                          env={**os.environ, "TZ": "Asia/Kathmandu", "LANG": "de_DE.UTF-8", "USER": "somebody",
                               "CCACHE_DISABLE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert digest(tree.parent / "made") == digest(PACKAGE)
