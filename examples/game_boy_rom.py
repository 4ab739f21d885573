"""A small Game Boy game, assembled by this module: catch the diamond. It contains no code or pictures of others.

`python examples/game_boy_rom.py FILE` writes the cartridge. The player (a face) moves with the direction pad; each
diamond caught adds one to the byte at SCORE and puts the next diamond elsewhere. The console's start-up logo is left
out, so a real console would refuse the cartridge; emulators run it.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: Where the game counts the diamonds.
SCORE = 0xC000
PLAYER_X, PLAYER_Y, DIAMOND_X, DIAMOND_Y, SEED = 0xC001, 0xC002, 0xC003, 0xC004, 0xC005
CODE, TILES = 0x0150, 0x0400
ROM_BYTES = 32 * 1024

#: Eight rows of eight pixels each: blank (light), 1, 2, 3 (dark).
PICTURES = {
    "ground": "........ ........ ...1.... ........ ........ .......1 ........ .1......",
    "face": "..3333.. .322223. 32322323 32222223 32322323 32233223 .322223. ..3333..",
    "diamond": "...33... ..3113.. .311113. 31122113 31122113 .311113. ..3113.. ...33...",
}


class Assembler:
    """Puts bytes one after another and fills in jumps once their labels are known."""

    def __init__(self, origin: int) -> None:
        self.origin = origin
        self.code = bytearray()
        self.labels: dict[str, int] = {}
        self.jumps: list[tuple[int, str]] = []

    def __call__(self, *code: int) -> None:
        """Add plain bytes."""
        self.code += bytes(code)

    def label(self, name: str) -> None:
        """Name the place that comes next."""
        self.labels[name] = self.origin + len(self.code)

    def jump(self, opcode: int, name: str) -> None:
        """Add a jump or call of three bytes to a label."""
        self(opcode)
        self.jumps.append((len(self.code), name))
        self(0, 0)

    def load_from(self, address: int) -> None:
        """LD A, (address)."""
        self(0xFA, address & 0xFF, address >> 8)

    def store_to(self, address: int) -> None:
        """LD (address), A."""
        self(0xEA, address & 0xFF, address >> 8)

    def finish(self) -> bytes:
        """Return the code with every jump filled in."""
        for place, name in self.jumps:
            self.code[place : place + 2] = self.labels[name].to_bytes(2, "little")
        return bytes(self.code)


JP, JP_NZ, JP_Z, JP_C, JP_NC, CALL = 0xC3, 0xC2, 0xCA, 0xDA, 0xD2, 0xCD


def assemble() -> bytes:
    """Return the whole game's code."""
    put = Assembler(CODE)
    put(0xF3, 0x31, 0xFE, 0xFF)  # DI; LD SP, FFFE
    put.label("wait for the screen's end")
    put(0xF0, 0x44, 0xFE, 144)  # LDH A, (LY); CP 144
    put.jump(JP_C, "wait for the screen's end")
    put(0xAF, 0xE0, 0x40)  # XOR A; LDH (LCDC), A: the screen is off, so its memory may be written

    put(0x21, TILES & 0xFF, TILES >> 8, 0x11, 0x00, 0x80)  # LD HL, TILES; LD DE, 8000
    put(0x06, 16 * len(PICTURES))  # LD B, n
    put.label("copy pictures")
    put(0x2A, 0x12, 0x13, 0x05)  # LD A, (HL+); LD (DE), A; INC DE; DEC B
    put.jump(JP_NZ, "copy pictures")
    put(0x21, 0x00, 0x98, 0x01, 0x00, 0x04)  # LD HL, 9800; LD BC, 0400
    put.label("lay the ground")
    put(0xAF, 0x22, 0x0B, 0x78, 0xB1)  # XOR A; LD (HL+), A; DEC BC; LD A, B; OR C
    put.jump(JP_NZ, "lay the ground")
    put(0x21, 0x00, 0xFE, 0x06, 0xA0)  # LD HL, FE00; LD B, A0
    put.label("hide all sprites")
    put(0xAF, 0x22, 0x05)  # XOR A; LD (HL+), A; DEC B
    put.jump(JP_NZ, "hide all sprites")
    put(0x3E, 0xE4, 0xE0, 0x47, 0xE0, 0x48)  # LD A, E4; LDH (BGP), A; LDH (OBP0), A

    for address, value in ((SCORE, 0), (PLAYER_X, 80), (PLAYER_Y, 88), (SEED, 0x5A)):
        put(0x3E, value)
        put.store_to(address)
    put.jump(CALL, "place the diamond")
    put(0x3E, 0x93, 0xE0, 0x40)  # LD A, 93; LDH (LCDC), A: screen, ground and sprites on

    put.label("frame")
    put.label("wait for the next screen's end")
    put(0xF0, 0x44, 0xFE, 144)
    put.jump(JP_NZ, "wait for the next screen's end")
    put(0x3E, 0x20, 0xE0, 0x00, 0xF0, 0x00, 0xF0, 0x00)  # LD A, 20; LDH (P1), A; LDH A, (P1) twice: it settles
    put(0x2F, 0xE6, 0x0F, 0x47)  # CPL; AND 0F; LD B, A: 1 right, 2 left, 4 up, 8 down
    moves = ((0, PLAYER_X, 2, 160), (1, PLAYER_X, -2, 8 + 1), (2, PLAYER_Y, -2, 16 + 1), (3, PLAYER_Y, 2, 152))
    for bit, address, step, limit in moves:
        put(0xCB, 0x40 + 8 * bit)  # BIT bit, B
        put.jump(JP_Z, f"not {bit}")
        put.load_from(address)
        put(0xFE, limit)  # CP limit
        put.jump(JP_NC if step > 0 else JP_C, f"not {bit}")
        put(0xC6, step & 0xFF)  # ADD A, step
        put.store_to(address)
        put.label(f"not {bit}")
    for player, diamond in ((PLAYER_X, DIAMOND_X), (PLAYER_Y, DIAMOND_Y)):
        put.load_from(diamond)
        put(0x4F)  # LD C, A
        put.load_from(player)
        put(0x91, 0xC6, 7, 0xFE, 15)  # SUB C; ADD A, 7; CP 15: at most seven pixels apart
        put.jump(JP_NC, "draw")
    put.load_from(SCORE)
    put(0x3C)  # INC A
    put.store_to(SCORE)
    put.jump(CALL, "place the diamond")

    put.label("draw")
    put(0x21, 0x00, 0xFE)  # LD HL, FE00: the sprites
    for tile, x, y in ((1, PLAYER_X, PLAYER_Y), (2, DIAMOND_X, DIAMOND_Y)):
        put.load_from(y)
        put(0x22)  # LD (HL+), A
        put.load_from(x)
        put(0x22, 0x3E, tile, 0x22, 0xAF, 0x22)  # LD (HL+), A; LD A, tile; LD (HL+), A; XOR A; LD (HL+), A
    put.label("wait for the next screen's beginning")
    put(0xF0, 0x44, 0xFE, 144)
    put.jump(JP_Z, "wait for the next screen's beginning")
    put.jump(JP, "frame")

    put.label("place the diamond")
    for address, least in ((DIAMOND_X, 16), (DIAMOND_Y, 24)):
        put.load_from(SEED)
        put(0x4F, 0x87, 0x87, 0x81, 0xC6, 0x2D)  # LD C, A; ADD A, A twice; ADD A, C; ADD A, 2D: the next of a long row
        put.store_to(SEED)
        put(0xE6, 0x78, 0xC6, least)  # AND 78; ADD A, least
        put.store_to(address)
    put(0xC9)  # RET
    return put.finish()


def tile(picture: str) -> bytes:
    """Return a picture as the console has it: for each row the low bits of all pixels, then the high ones."""
    planes = bytearray()
    for row in picture.split():
        values = [0 if pixel == "." else int(pixel) for pixel in row]
        planes += bytes(sum((value >> bit & 1) << (7 - at) for at, value in enumerate(values)) for bit in (0, 1))
    return bytes(planes)


def make_rom() -> bytes:
    """Return the cartridge: 32 KB."""
    rom = bytearray(ROM_BYTES)
    rom[0x100:0x104] = bytes([0x00, JP, CODE & 0xFF, CODE >> 8])  # NOP; JP CODE
    rom[0x134:0x13B] = b"CATCH  "
    rom[0x14D] = -sum(byte + 1 for byte in rom[0x134:0x14D]) & 0xFF
    code = assemble()
    rom[CODE : CODE + len(code)] = code
    pictures = b"".join(tile(picture) for picture in PICTURES.values())
    rom[TILES : TILES + len(pictures)] = pictures
    rom[0x14E:0x150] = (sum(rom) & 0xFFFF).to_bytes(2, "big")
    return bytes(rom)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(make_rom())
