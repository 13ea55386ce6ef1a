"""Whole numbers in as few bytes as they need, written and read: seven bits a byte, lowest first."""

MOST_BYTES = 9
LARGEST = 2**63 - 1

_LOW_BITS = 0x7F
_MORE = 0x80
"""Of a byte: seven bits of the number, and whether another byte follows."""


class DamagedError(ValueError):
    """The bytes are not what any writer of ours wrote."""


class Reader:
    """Takes bytes apart from their beginning on; raises DamagedError where they end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    @property
    def at_end(self) -> bool:
        """Whether everything was taken."""
        return self._next == len(self._data)

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        """The next so many bytes."""
        end = self._next + count
        if end > len(self._data):
            raise DamagedError
        taken, self._next = self._data[self._next : end], end
        return taken

    def varint(self) -> int:
        """The next number."""
        number = 0
        for place in range(MOST_BYTES):
            byte = self.byte()
            number |= (byte & _LOW_BITS) << (7 * place)
            if not byte & _MORE:
                return number
        raise DamagedError


def varint(number: int) -> bytes:
    """The bytes of a number from 0 to ``LARGEST``."""
    said = bytearray()
    while number > _LOW_BITS:
        said.append(number & _LOW_BITS | _MORE)
        number >>= 7
    said.append(number)
    return bytes(said)


def varint_bytes(number: int) -> int:
    """How many bytes a number needs."""
    return max(1, (number.bit_length() + 6) // 7)
