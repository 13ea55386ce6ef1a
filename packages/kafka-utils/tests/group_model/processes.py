"""Several processes over one clock that only moves when all of them wait: virtual time.

Each process has an event loop of its own, so that one can be stopped (SIGSTOP), go on later and
find its timers overdue, or be killed, as the operating system does it, while the others go on.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Clock:
    """The time, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0


class _NothingToRead:
    """What a loop asks for input: there is none, and nobody is waited for."""

    def select(self, _: float | None) -> list[Any]:
        return []


class Process(asyncio.BaseEventLoop):
    """An event loop that others drive."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__()
        self.name = name
        self.clock = clock
        self.stopped = False
        """Whether it does not run for now; what comes from outside waits in its queue."""
        self.killed = False
        self._selector = _NothingToRead()
        self.errors: list[str] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self.clock.now

    @property
    def runs(self) -> bool:
        return not self.stopped and not self.killed

    @property
    def next_timer(self) -> float:
        """When something is to be done at the latest."""
        if self._ready:  # type: ignore[attr-defined]
            return self.clock.now
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return scheduled[0].when() if scheduled else float("inf")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Code in here runs as if this loop ran it."""
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(outside)

    def turn(self) -> None:
        """Do everything that is due, once."""
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(outside)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        with self.inside():
            return self.create_task(work)

    def end(self) -> None:
        """Cancel what there is; nothing that it does on its way out reaches anybody."""
        self.killed = True
        for _ in range(20):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            for _ in range(20):
                self.turn()
        self.close()

    def _process_events(self, _: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.killed:
            self.errors.append(
                f"{self.name}: {context.get('message')}: {context.get('exception')!r}"
            )


class World:
    """The processes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.processes: list[Process] = []

    def process(self, name: str) -> Process:
        made = Process(name, self.clock)
        self.processes.append(made)
        return made

    def pass_time(self, seconds: float) -> None:
        """Let all that run go on for that long."""
        until = self.clock.now + seconds
        while True:
            following = self._turn_all()
            if following > until:
                self.clock.now = until
                return
            self.clock.now = max(self.clock.now, following)

    def _turn_all(self) -> float:
        """Let all that run do what is due; return when there is more to do."""
        now = self.clock.now
        turned = False
        following = float("inf")
        for process in self.processes:
            if process.runs:
                due = process.next_timer
                if due <= now:
                    process.turn()
                    turned = True
                following = min(following, due)
        # Who had its turn may have given work to somebody who was asked before.
        return now if turned else following

    def run(self, process: Process, work: Coroutine[Any, Any, T], seconds: float = 600) -> T:
        """Run it in the process and return what it returns; time passes as far as it needs."""
        task = process.spawn(work)
        until = self.clock.now + seconds
        while not task.done():
            following = self._turn_all()
            if following > until and not task.done():
                raise AssertionError(f"{process.name}: not done after {seconds} s: {work!r}")
            self.clock.now = max(self.clock.now, following)
        return task.result()

    def end(self) -> None:
        for process in self.processes:
            process.end()
