"""Coded indexes of frame boxes, which are not stored: the CRC32C of a box begins with its own (FORMAT.md, chapter 2).

CRCs are linear: changing the first four bytes of a message by XOR changes its CRC by an invertible linear function of
that change, which depends on the length of the message alone. Hence one index makes a stored checksum right.
"""

from functools import cache

from crc32c import crc32c

INDEX_BYTES = 4
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_TOP = 0x80000000
_WORD_BYTES = 4

Matrix = tuple[int, ...]  # 32 columns: what each bit of a word becomes


def index_crc(index: int) -> int:
    """CRC32C of a coded index, to go on with over head and content. ValueError outside 32 bits."""
    if not 0 <= index <= 0xFFFFFFFF:
        raise ValueError(f"coded index {index} is not one of 32 bits")
    return int(crc32c(index.to_bytes(INDEX_BYTES, "little")))


def index_of(stored: int, body: bytes | memoryview) -> int:
    """The 32-bit coded index with which `body`, head and content of a frame box, has the checksum `stored`."""
    return _back(stored ^ int(crc32c(body, index_crc(0))), len(body) + INDEX_BYTES)


def _back(word: int, count: int) -> int:
    """The register that becomes `word` when `count` zero bytes are fed to the CRC."""
    power = 0
    while count:
        if count & 1:
            word = _times(_back_by(power), word)
        count >>= 1
        power += 1
    return word


@cache
def _back_by(power: int) -> Matrix:
    """The matrix that takes a register back by 2^power zero bytes."""
    if power:
        half = _back_by(power - 1)
        return tuple(_times(half, column) for column in half)
    columns = []
    for bit in range(8 * _WORD_BYTES):
        register = 1 << bit
        for _ in range(8):
            # forwards: a low bit that is set leaves, and the polynomial, whose top bit is set, is XORed in
            register = (register ^ _POLYNOMIAL) << 1 | 1 if register & _TOP else register << 1
        columns.append(register)
    return tuple(columns)


def _times(matrix: Matrix, word: int) -> int:
    product = 0
    for column in matrix:
        if word & 1:
            product ^= column
        word >>= 1
    return product
