"""The crash points and seeded bugs of a test build, read where the build reads them, and their control."""
import mmap
import re
import struct
from pathlib import Path

BASE = Path(__file__).resolve().parents[2] / "service" / "base"


def _rows(name, columns):
    pattern = r'^X\((\w+), ' + r", ".join([r'"([^"]*)"'] * columns) + r"\)$"
    return re.findall(pattern, (BASE / name).read_text(), re.M)


POINTS = [row[1] for row in _rows("crash_points.def", 3)]
NUMBERS = {row[1]: row[2] for row in _rows("crash_points.def", 3)}
BUGS = {row[1]: row[2] for row in _rows("seeded_bugs.def", 2)}


class Control:
    """The file a daemon maps: arm() says at which point it dies, counts() how often each was reached."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.write_bytes(bytes(8 * len(POINTS)))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def arm(self, point=None, times=1):
        """No other point is armed afterwards."""
        values = [0] * len(POINTS)
        if point:
            values[POINTS.index(point)] = times
        self.map[:4 * len(POINTS)] = struct.pack(f"<{len(POINTS)}i", *values)

    def counts(self):
        return dict(zip(POINTS, struct.unpack(f"<{len(POINTS)}I", self.map[4 * len(POINTS):])))
