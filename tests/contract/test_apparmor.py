"""The profile of deploy/apparmor: the parser takes it, and it is the one the program asks for."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from validate import ROOT

PROFILE = ROOT / "deploy/apparmor/drover-image"


def test_the_parser_takes_it():
    parser = shutil.which("apparmor_parser", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not parser:
        pytest.skip("apparmor_parser is not installed")
    # Its rules come with it, wherever it was unpacked.
    base = Path(parser).parents[1] / "etc/apparmor.d"
    base = base if (base / "tunables/global").exists() else Path("/etc/apparmor.d")
    done = subprocess.run([parser, "--skip-kernel-load", "--skip-cache", "--base", base, PROFILE], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done


def test_the_program_asks_for_it_by_its_name():
    name = re.search(r"^profile (\S+) {", PROFILE.read_text(encoding="utf-8"), re.M)[1]
    header = (ROOT / "service/vm/image_internal.h").read_text(encoding="utf-8")
    assert name == PROFILE.name and f'#define IMAGE_PROFILE "{name}"' in header
    # Whatever starts qemu-img.
    for path in (ROOT / "service").rglob("*.c"):
        text = path.read_text(encoding="utf-8")
        if "/usr/bin/qemu-img" in text:
            started = text.count("struct exec_options")
            assert started and text.count(".profile = IMAGE_PROFILE") == started, path
