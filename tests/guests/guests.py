#!/usr/bin/env python3
"""Boot-sector guests: 512-byte raw disk images of 16-bit code that talk on COM1.

    guests.py DIR               writes hello.img, flood.img, halt.img, count.img and keys.img
    guests.py DIR NAME…         only these
    guests.py --mib=1 DIR …     padded with zeros: firmware boots a disk of one sector only from
                                IDE, one of a MiB also from virtio and AHCI

They need no kernel and run where only firmware-level guests do. hello prints a line and echoes
what it gets; flood never stops printing; halt prints a line and switches the machine off; count
prints numbered lines for ever, so that a reader sees what is missing; keys sends what is typed on the
keyboard to COM1, and echoes on COM2.

The machine code is made by the few lines of assembler below, since an assembler is not on every
machine that runs tests. Each instruction is one line with its mnemonic beside it.
"""

import pathlib
import sys

COM1 = 0x3F8
COM2 = 0x2F8
LSR = COM1 + 5  # line status: bit 0 a byte has come, bit 5 a byte can go
PM1A_CNT = {"q35": 0x604, "pc": 0x604}  # what SeaBIOS programs on both machines


class Code:
    """Bytes with labels; jumps are 8 or 16 bits relative."""

    def __init__(self):
        self.bytes = bytearray()
        self.labels = {}
        self.patches = []

    def __call__(self, *parts):
        for part in parts:
            self.bytes += bytes([part]) if isinstance(part, int) else part

    def label(self, name):
        self.labels[name] = len(self.bytes)

    def short(self, opcode, name):
        self(opcode, 0)
        self.patches.append((len(self.bytes) - 1, name, 1))

    def near(self, opcode, name):
        self(opcode, b"\0\0")
        self.patches.append((len(self.bytes) - 2, name, 2))

    def address(self, opcode, name):
        self(opcode, b"\0\0")
        self.patches.append((len(self.bytes) - 2, name, 0))

    def image(self):
        for at, name, size in self.patches:
            target = self.labels[name]
            if size == 0:
                value, size = 0x7C00 + target, 2
            else:
                value = target - (at + size)
            self.bytes[at:at + size] = value.to_bytes(size, "little", signed=value < 0)
        assert len(self.bytes) <= 510, len(self.bytes)
        return bytes(self.bytes).ljust(510, b"\0") + b"\x55\xaa"


def word(value):
    return value.to_bytes(2, "little")


def start():
    """Segments, a stack, COM1 at 115200 8N1 with FIFOs."""
    c = Code()
    c(0xFA)                      # cli
    c(0x31, 0xC0)                # xor ax, ax
    c(0x8E, 0xD8)                # mov ds, ax
    c(0x8E, 0xC0)                # mov es, ax
    c(0x8E, 0xD0)                # mov ss, ax
    c(0xBC, word(0x7C00))        # mov sp, 0x7c00
    c(0xFC)                      # cld
    for port, value in ((1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xC7), (4, 0x0B)):
        c(0xBA, word(COM1 + port))  # mov dx, port
        c(0xB0, value)              # mov al, value
        c(0xEE)                     # out dx, al
    # As drivers do: QEMU asks for what was typed meanwhile only when somebody has read.
    c(0xBA, word(COM1))          # mov dx, COM1
    c(0xEC)                      # in al, dx
    return c


def subroutines(c):
    """put: the byte in al goes out, when it can; puts: the text at si up to a NUL."""
    c.label("put")
    c(0x88, 0xC4)                # mov ah, al
    c(0xBA, word(LSR))           # mov dx, LSR
    c.label("put_wait")
    c(0xEC)                      # in al, dx
    c(0xA8, 0x20)                # test al, 0x20
    c.short(0x74, "put_wait")    # jz
    c(0xBA, word(COM1))          # mov dx, COM1
    c(0x88, 0xE0)                # mov al, ah
    c(0xEE)                      # out dx, al
    c(0xC3)                      # ret
    c.label("puts")
    c(0xAC)                      # lodsb
    c(0x84, 0xC0)                # test al, al
    c.short(0x74, "puts_end")    # jz
    c.near(0xE8, "put")          # call
    c.short(0xEB, "puts")        # jmp
    c.label("puts_end")
    c(0xC3)                      # ret


def text(c, name, value):
    c.label(name)
    c(value.encode() + b"\0")


def hello():
    c = start()
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c.label("echo")
    c(0xBA, word(LSR))           # mov dx, LSR
    c(0xEC)                      # in al, dx
    c(0xA8, 0x01)                # test al, 1
    c.short(0x74, "echo")        # jz
    c(0xBA, word(COM1))          # mov dx, COM1
    c(0xEC)                      # in al, dx
    c.near(0xE8, "put")          # call
    c.short(0xEB, "echo")        # jmp
    subroutines(c)
    text(c, "line", "Hello from the boot sector. I echo.\r\n")
    return c.image()


def flood():
    c = start()
    c.label("again")
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c.short(0xEB, "again")       # jmp
    subroutines(c)
    text(c, "line", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n")
    return c.image()


def halt():
    c = start()
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c(0xBA, word(LSR))           # mov dx, LSR
    c.label("drain")
    c(0xEC)                      # in al, dx
    c(0xA8, 0x40)                # test al, 0x40: the shift register is empty, too
    c.short(0x74, "drain")       # jz
    c(0xBA, word(PM1A_CNT["q35"]))  # mov dx, PM1a_CNT
    c(0xB8, word(0x2000))        # mov ax, SLP_EN | S5
    c(0xEF)                      # out dx, ax
    c.label("end")
    c(0xF4)                      # hlt
    c.short(0xEB, "end")         # jmp
    subroutines(c)
    text(c, "line", "Going down.\r\n")
    return c.image()


def idle():
    c = start()
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c.label("end")
    c(0xFA)                      # cli
    c(0xF4)                      # hlt
    c.short(0xEB, "end")         # jmp
    subroutines(c)
    text(c, "line", "Nothing to do.\r\n")
    return c.image()


def count():
    """Lines "0000000000" … of ten decimal digits, counted up in the text itself."""
    c = start()
    c.label("again")
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c.address(0xBB, "last")      # mov bx, last digit
    c.label("carry")
    c(0xFE, 0x07)                # inc byte [bx]
    c(0x80, 0x3F, ord("9"))      # cmp byte [bx], '9'
    c.short(0x76, "again")       # jbe
    c(0xC6, 0x07, ord("0"))      # mov byte [bx], '0'
    c(0x4B)                      # dec bx
    c(0x81, 0xFB)                # cmp bx, line
    c(b"\0\0")
    c.patches.append((len(c.bytes) - 2, "line", 0))
    c.short(0x73, "carry")       # jae
    c.short(0xEB, "again")       # jmp
    subroutines(c)
    text(c, "line", "0" * 10 + "\r\n")
    c.labels["last"] = c.labels["line"] + 9
    return c.image()


def keys():
    c = start()
    for port, value in ((1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xC7), (4, 0x0B)):
        c(0xBA, word(COM2 + port))  # mov dx, port
        c(0xB0, value)              # mov al, value
        c(0xEE)                     # out dx, al
    c(0xFB)                      # sti: the keyboard interrupts
    c.address(0xBE, "line")      # mov si, line
    c.near(0xE8, "puts")         # call
    c.label("again")
    c(0xB4, 0x01)                # mov ah, 1: is there a key?
    c(0xCD, 0x16)                # int 0x16
    c.short(0x74, "no_key")      # jz
    c(0xB4, 0x00)                # mov ah, 0: which?
    c(0xCD, 0x16)                # int 0x16
    c.near(0xE8, "put")          # call
    c.label("no_key")
    c(0xBA, word(COM2 + 5))      # mov dx, COM2's LSR
    c(0xEC)                      # in al, dx
    c(0xA8, 0x01)                # test al, 1
    c.short(0x74, "again")       # jz
    c(0xBA, word(COM2))          # mov dx, COM2
    c(0xEC)                      # in al, dx
    c(0xEE)                      # out dx, al
    c.short(0xEB, "again")       # jmp
    subroutines(c)
    text(c, "line", "Type.\r\n")
    return c.image()


GUESTS = {"hello": hello, "flood": flood, "halt": halt, "count": count, "keys": keys, "idle": idle}


def write(directory, names=None, mib=0):
    """Writes the images; returns {name: path}. mib: padded to that size with a hole."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in names or GUESTS:
        paths[name] = directory / f"{name}.img"
        with open(paths[name], "wb") as f:
            f.write(GUESTS[name]())
            if mib:
                f.truncate(mib << 20)
    return paths


def main(arguments):
    mib = 0
    if arguments and arguments[0].startswith("--mib="):
        mib = int(arguments.pop(0).partition("=")[2])
    if not arguments or arguments[0].startswith("-") or set(arguments[1:]) - set(GUESTS):
        print(__doc__, file=sys.stderr)
        return 2
    for path in write(arguments[0], arguments[1:], mib).values():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
