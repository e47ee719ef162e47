// A machine of one boot sector: what is typed at its display is printed there and on its console.
const CODE = [
    [0xfb], // sti
    [0x31, 0xc0], // xor ax, ax
    [0x8e, 0xd8], // mov ds, ax
    [0xb8, 0x03, 0x00], // mov ax, 3: text mode
    [0xcd, 0x10], // int 10h
    [0xb0, 0x3e], // mov al, '>'
    [0xb4, 0x0e], // put: mov ah, 0eh: teletype
    [0xbb, 0x07, 0x00], // mov bx, 7
    [0xcd, 0x10], // int 10h
    [0xba, 0xf8, 0x03], // mov dx, 3f8h: COM1
    [0xee], // out dx, al
    [0xb4, 0x00], // mov ah, 0: wait for a key
    [0xcd, 0x16], // int 16h
    [0xeb, -18 & 0xff], // jmp put
].flat();

/* A MiB: firmware boots a shorter disk from IDE only. */
export function displayDisk() {
    const disk = Buffer.alloc(1024 * 1024);
    Buffer.from(CODE).copy(disk);
    disk[510] = 0x55;
    disk[511] = 0xaa;
    return disk;
}
