"""Lines of several processes, none of which is torn by what another one says meanwhile."""

from collections import defaultdict

LONGEST_PART = 64 * 1024
"""Bytes of a line without an end that are kept back; longer ones are let through as they come."""


class WholeLines:
    """Keeps what a process has begun to say until it has said it."""

    def __init__(self) -> None:
        self._begun: dict[str, bytes] = defaultdict(bytes)

    def said(self, process: str, piece: bytes) -> bytes:
        """What can be passed on now that the process has said this too."""
        whole, end, begun = (self._begun[process] + piece).rpartition(b"\n")
        if len(begun) > LONGEST_PART:
            whole, end, begun = whole + end + begun, b"\n", b""
        self._begun[process] = begun
        return whole + end

    def ended(self, process: str) -> bytes:
        """What a process that will say no more has left without an end; it gets one."""
        begun = self._begun.pop(process, b"")
        return begun and begun + b"\n"
