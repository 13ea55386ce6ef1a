"""One line per request that a sample receiver answered: how it is written and read back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Receipt:
    """One request, as the receiver saw it."""

    received_ns: int
    """When the request had arrived whole, in nanoseconds since 1970."""
    endpoint: str
    webhook_id: str
    status: int
    valid: bool
    """Whether the signature was verified against the endpoint's own secrets."""
    seconds: float
    """From arrival to the answer."""

    @property
    def accepted(self) -> bool:
        """Whether the sender was told that the delivery is done."""
        return 200 <= self.status < 300

    def to_line(self) -> str:
        """The receipt as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read what ``to_line`` wrote."""
        return cls(**json.loads(line))


class ReceiptTail:
    """Reads a growing ledger file, each time from where it stopped before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read_new(self) -> list[Receipt]:
        """Every whole line added since the last call; a half-written one waits for its end."""
        with self._path.open("rb") as ledger:
            ledger.seek(self._offset)
            added = ledger.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [Receipt.from_line(line) for line in whole.decode().splitlines()]
