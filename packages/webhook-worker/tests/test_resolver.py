"""Names are resolved beside everything else: nothing waits for a lookup that hangs."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from webhook_worker.sending import lookups
from webhook_worker.sending import resolver as resolver_module
from webhook_worker.sending.lookups import ResolverBusyError, SlowNameError
from webhook_worker.sending.resolver import FAILED_SECONDS, FOUND_SECONDS, Resolver

HERE = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
BOTH = [*HERE, *HERE, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]


@dataclass
class System:
    """Stands for the system's resolver; names with "dead" in them hang until ``released``."""

    released: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def getaddrinfo(self, host: str, *_: object, **__: object) -> object:
        self.asked.append(host)
        if "dead" in host:
            self.released.wait(30)
        if "missing" in host:
            raise socket.gaierror(socket.EAI_NONAME, "none")
        return BOTH


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    ours = System()
    monkeypatch.setattr(socket, "getaddrinfo", ours.getaddrinfo)
    yield ours
    ours.released.set()


async def until(reached: int, asked: list[str]) -> None:
    while len(asked) < reached:  # noqa: ASYNC110 - a thread appends to it
        await asyncio.sleep(0.001)


async def test_addresses_come_once_each_in_order(system: System) -> None:
    resolver = Resolver(most=1, patience=10)
    assert await resolver.look_up("a.example") == [ip_address("127.0.0.1"), ip_address("::1")]


async def test_an_address_needs_no_lookup(system: System) -> None:
    resolver = Resolver(most=1, patience=10)
    assert await resolver.look_up("127.0.0.1") == [ip_address("127.0.0.1")]
    assert await resolver.look_up("::1") == [ip_address("::1")]
    assert not system.asked


class Clock:
    """Seconds, as told."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_one_lookup_serves_all_who_wait_for_the_name(system: System) -> None:
    resolver = Resolver(most=4, patience=10)
    waiting = [asyncio.create_task(resolver.look_up("dead.example")) for _ in range(20)]
    await until(1, system.asked)
    system.released.set()
    answers = await asyncio.gather(*waiting)
    assert all(answer == answers[0] for answer in answers)
    assert system.asked == ["dead.example"]


async def test_what_was_found_is_remembered_for_a_short_time(system: System) -> None:
    clock = Clock()
    resolver = Resolver(most=4, patience=10, now=clock)
    found = await resolver.look_up("a.example")
    clock.seconds = FOUND_SECONDS - 0.1
    assert await resolver.look_up("a.example") == found
    assert len(system.asked) == 1
    clock.seconds = FOUND_SECONDS
    assert await resolver.look_up("a.example") == found
    assert len(system.asked) == 2


async def test_a_failure_is_remembered_for_a_shorter_time(system: System) -> None:
    clock = Clock()
    resolver = Resolver(most=4, patience=10, now=clock)
    for seconds in (0.0, FAILED_SECONDS - 0.1, FAILED_SECONDS):
        clock.seconds = seconds
        with pytest.raises(socket.gaierror) as told:
            await resolver.look_up("missing.example")
        assert len(told.traceback) < 10
    assert len(system.asked) == 2
    assert FAILED_SECONDS < FOUND_SECONDS


async def test_names_are_remembered_up_to_a_bound(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "MOST_NAMES", 2)
    ours = Resolver(most=4, patience=10)
    for name in ("a", "b", "c", "b", "c", "a"):
        await ours.look_up(name)
    assert system.asked == ["a", "b", "c", "a"]


async def test_names_that_nobody_answers_for_leave_room_for_the_others(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW_SECONDS", 0.01)
    resolver = Resolver(most=1, patience=10)
    hanging = [asyncio.create_task(resolver.look_up(f"dead-{n}.example")) for n in range(3)]
    assert await resolver.look_up("a.example")
    system.released.set()
    await asyncio.gather(*hanging)


async def test_among_too_many_slow_names_one_known_to_be_slow_is_not_asked_about(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(resolver_module, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(resolver_module, "FOUND_SECONDS", 0.0)
    ours = Resolver(most=1, patience=10)
    first = asyncio.create_task(ours.look_up("dead-0.example"))
    await until(1, system.asked)
    await asyncio.sleep(0.02)
    system.released.set()
    await first
    system.released.clear()
    hanging = [asyncio.create_task(ours.look_up(f"dead-{n}.example")) for n in range(1, 4)]
    await until(4, system.asked)
    await asyncio.sleep(0.02)
    with pytest.raises(SlowNameError):
        await ours.look_up("dead-0.example")
    assert await ours.look_up("a.example")
    system.released.set()
    await asyncio.gather(*hanging)
    assert await ours.look_up("dead-0.example")


async def test_a_failure_is_told_to_all_who_wait(system: System) -> None:
    resolver = Resolver(most=4, patience=10)
    answers = await asyncio.gather(
        *(resolver.look_up("missing.example") for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [socket.gaierror] * 3


async def test_a_lookup_that_hangs_takes_one_thread_and_nothing_else(system: System) -> None:
    resolver = Resolver(most=2, patience=10)
    hanging = asyncio.create_task(resolver.look_up("dead.example"))
    await until(1, system.asked)
    assert await resolver.look_up("a.example")
    assert await asyncio.wait_for(asyncio.to_thread(str), 5) == ""
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_a_waiter_that_gives_up_leaves_the_lookup_to_the_others(system: System) -> None:
    resolver = Resolver(most=1, patience=10)
    first, second = (asyncio.create_task(resolver.look_up("dead.example")) for _ in range(2))
    await until(1, system.asked)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    system.released.set()
    assert await second


async def test_beyond_the_bound_a_lookup_waits_and_then_says_why(system: System) -> None:
    resolver = Resolver(most=1, patience=0.05)
    hanging = asyncio.create_task(resolver.look_up("dead.example"))
    await until(1, system.asked)
    with pytest.raises(ResolverBusyError, match="all 1 threads of our resolver are busy"):
        await resolver.look_up("a.example")
    system.released.set()
    await hanging
    assert await resolver.look_up("b.example")


async def test_those_who_waited_for_a_thread_share_one_lookup_too(system: System) -> None:
    resolver = Resolver(most=1, patience=10)
    hanging = asyncio.create_task(resolver.look_up("dead.example"))
    await until(1, system.asked)
    waiting = [asyncio.create_task(resolver.look_up("a.example")) for _ in range(5)]
    await asyncio.sleep(0)
    system.released.set()
    await asyncio.gather(hanging, *waiting)
    assert system.asked == ["dead.example", "a.example"]


def test_the_end_of_the_process_waits_for_no_lookup() -> None:
    program = """
import asyncio, socket, time
from webhook_worker.sending.resolver import Resolver
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
async def main():
    try:
        async with asyncio.timeout(0.1):
            await Resolver(most=1, patience=1).look_up("dead.example")
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, timeout=50, check=True
    )
    assert (ended.stdout, ended.stderr) == (b"gave up\n", b"")
    assert time.monotonic() - began < 30
