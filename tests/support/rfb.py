"""As much of an RFB (VNC) client as tests need, over a WebSocket: handshake, keys, raw pixels."""
import struct

RAW, DESKTOP_SIZE = 0, -223


class Rfb:
    def __init__(self, socket, shared=True):
        """Takes the socket through the handshake; without authentication, as QEMU offers it here."""
        self.socket, self.buffer = socket, b""
        self.version = self.take(12)
        assert self.version.startswith(b"RFB 003."), self.version
        socket.send(b"RFB 003.008\n")
        kinds = self.take(self.take(1)[0])
        assert 1 in kinds, f"it wants authentication: {kinds!r}"
        socket.send(b"\x01")
        assert struct.unpack(">I", self.take(4))[0] == 0
        socket.send(bytes([shared]))
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        # 32 bits, little endian, blue at 0
        socket.send(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        socket.send(struct.pack(">BxHii", 2, 2, RAW, DESKTOP_SIZE))

    def take(self, count):
        while len(self.buffer) < count:
            message = self.socket.receive()
            if not message:
                raise ConnectionError(f"closed with {self.socket.close_code}")
            self.buffer += message[1]
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def key(self, character):
        """Pressed and let go."""
        for down in (1, 0):
            self.socket.send(struct.pack(">BBxxI", 4, down, ord(character)))

    def update(self, incremental=False):
        """Asks for the picture and waits for one update; the number of pixels it changed."""
        self.socket.send(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        while True:
            kind = self.take(1)[0]
            if kind == 0:
                return self._rectangles()
            if kind == 2:  # bell
                continue
            if kind == 3:  # cut text
                self.take(3)
                self.take(struct.unpack(">I", self.take(4))[0])
                continue
            raise AssertionError(f"server message {kind}")

    def _rectangles(self):
        pixels = 0
        for _ in range(struct.unpack(">xH", self.take(3))[0]):
            _, _, width, height, encoding = struct.unpack(">HHHHi", self.take(12))
            if encoding == DESKTOP_SIZE:
                self.width, self.height = width, height
            else:
                assert encoding == RAW, encoding
                self.take(width * height * 4)
                pixels += width * height
        return pixels
