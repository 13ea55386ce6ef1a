"""What processes of this machine have used, as the operating system counts it."""

import os
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have used together."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in pids)
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pids: Iterable[int]) -> float:
    """For how long their main threads were ready to run and got no processor."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e9


def times_woken(pids: Iterable[int]) -> int:
    """How often their main threads gave up the processor because they had nothing to do."""
    rows = (Path(f"/proc/{pid}/status").read_text().splitlines() for pid in pids)
    return sum(int(row.split()[1]) for lines in rows for row in lines if row[:4] == "volu")


def resident_mb(pids: Iterable[int]) -> float:
    """Resident memory of these processes; what they share counts for each."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return sum(pages) * resource.getpagesize() / 1e6


def proportional_mb(pids: Iterable[int]) -> float:
    """Resident memory of these processes; what they share counts once (PSS)."""
    rows = (Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids)
    return sum(int(row.split()[1]) for lines in rows for row in lines if row[:4] == "Pss:") / 1e3


def ended(pids: Iterable[int]) -> list[int]:
    """Those of these processes that run no more, whether or not somebody has waited for them."""
    return [pid for pid in pids if not _runs(pid)]


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def with_word(word: str) -> int | None:
    """The process that has this word in its command line; None if there is none."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in entry.read_bytes().split(b"\0"):
                return int(entry.parent.name)
    return None
