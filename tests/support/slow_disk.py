"""A disk image that is small to send and long to convert: a VMDK each of whose grains is the same one."""
import struct
import subprocess

SECTOR = 512


def slow_vmdk(path, gib=8):
    """Its bytes: gib of them for a guest, all of the one 64 KiB that is there. Written at path."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", path, f"{gib}G"], check=True)
    subprocess.run(["qemu-io", "-f", "vmdk", "-c", "write -P 51 0 64k", path], check=True, stdout=subprocess.DEVNULL)
    data = bytearray(path.read_bytes())
    capacity, grain, _, _, entries, backup, directory = struct.unpack_from("<QQQQIQQ", data, 12)
    tables = -(-capacity // (grain * entries))
    first = None
    for at in (directory, backup):
        for table in struct.unpack_from(f"<{tables}I", data, at * SECTOR):
            first = first or struct.unpack_from("<I", data, table * SECTOR)[0]
            struct.pack_into(f"<{entries}I", data, table * SECTOR, *[first] * entries)
    assert first
    return bytes(data)
