"""The play: events flow, a pod is killed and started again, all work comes to its end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiokafka.errors import KafkaError

from deploy.demo.ledger import Balance, Sent, Silence, balance, longest_silences
from deploy.demo.observe import Backlog, ClusterView, Ownership, ready_workers
from deploy.demo.pods import Pod, PodError
from deploy.demo.progress import Display, PodProgress, Progress
from deploy.demo.receipts import Receipt, ReceiptTail
from deploy.demo.report import KilledPod, Run
from deploy.demo.settings import DemoSettings
from deploy.demo.topic_reader import stored_deliveries
from deploy.demo.traffic import Traffic

# The part of the time that passes before the kill.
BEFORE_THE_KILL = 0.25
POLL_SECONDS = 0.2
READY_POLL_SECONDS = 0.5
# How long nothing at all may happen before the wait for the work's end is given up.
STANDSTILL_SECONDS = 30.0


class PlayError(Exception):
    """The fleet did not come to the state that the play needs; the message says which."""


class Play:
    """One run over pods that are already started."""

    def __init__(
        self,
        settings: DemoSettings,
        *,
        display: Display,
        view: ClusterView,
        pods: Sequence[Pod],
        traffic: Traffic,
        tail: ReceiptTail,
        partitions: int,
        dead_letter_topic: str,
    ) -> None:
        self._settings = settings
        self._display = display
        self._view = view
        self._pods = pods
        self._traffic = traffic
        self._tail = tail
        self._partitions = partitions
        self._dead_letter_topic = dead_letter_topic
        self._receipts: list[Receipt] = []
        self._began_ns = 0

    async def until_ready(self) -> None:
        """Wait until every worker has joined and every partition is owned. Raises PlayError."""
        ports = [port for pod in self._pods for port in pod.ports]
        give_up = time.monotonic() + 60 + 3 * len(ports)
        ready = 0
        while ready < len(ports):
            if time.monotonic() > give_up:
                raise PlayError(f"only {ready} of {len(ports)} workers became ready")
            self._check_pods(self._pods)
            self._display.note(f"{ready} of {len(ports)} workers are ready.")
            await asyncio.sleep(READY_POLL_SECONDS)
            ready = await ready_workers(ports)
        await self._ownership_when(self._is_complete, "the workers own all partitions")

    async def run(self) -> Run:
        """Send, kill, start again, and wait for the end of all work; the pods run on."""
        self._began_ns = time.time_ns()
        enough = asyncio.Event()
        watching = asyncio.create_task(self._watch())
        sending = asyncio.create_task(
            self._traffic.run(self._settings.rate, self._settings.seconds, enough)
        )
        try:
            await asyncio.sleep(self._settings.seconds * BEFORE_THE_KILL)
            killed_ns, kill = await self._kill_a_pod(self._pods[0])
            enough.set()
            await sending
            self._say("All events are sent; now every record is to come to its end.")
            settled = await self._until_settled()
        finally:
            sending.cancel()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        return await self._account(kill, killed_ns, settled)

    async def _kill_a_pod(self, pod: Pod) -> tuple[int, KilledPod]:
        before = await self._ownership_when(self._is_complete, "all partitions are owned")
        killed_ns, killed = time.time_ns(), time.monotonic()
        await pod.kill()
        mine = before.of_pod(pod.name)
        self._say(
            f"{pod.name} is killed with SIGKILL: supervisord and its "
            f"{self._settings.processes} workers are gone, {len(mine)} partitions have no owner."
        )
        after = await self._ownership_when(
            lambda now: self._owns_all(now) and not any(m.of_pod(pod.name) for m in now.members),
            f"the other pods own the partitions of {pod.name}",
        )
        taken_over = time.monotonic() - killed
        self._say(f"The other workers own everything, {taken_over:.1f} s after the kill.")
        started = time.monotonic()
        pod.start()
        self._say(f"{pod.name} is started again.")
        await self._ownership_when(self._is_complete, f"{pod.name} owns partitions again")
        back = time.monotonic() - started
        self._say(f"{pod.name} is back and owns partitions, {back:.1f} s after its start.")
        return killed_ns, KilledPod(pod.name, mine, before.moved_to(after), taken_over, back)

    async def _until_settled(self) -> bool:
        before: tuple[Backlog, int] | None = None
        give_up = time.monotonic() + STANDSTILL_SECONDS
        while time.monotonic() < give_up:
            self._check_pods(self._pods)
            with suppress(KafkaError):
                backlog = await self._view.backlog()
                if backlog.settled:
                    return True
                if (backlog, len(self._receipts)) != before:
                    before = (backlog, len(self._receipts))
                    give_up = time.monotonic() + STANDSTILL_SECONDS
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _stop_pods(self) -> tuple[str, ...]:
        """Stop all pods in order; returns what went wrong, as sentences."""
        self._say(f"SIGTERM to {len(self._pods)} pods.")
        began = time.monotonic()
        results = await asyncio.gather(*(pod.stop() for pod in self._pods), return_exceptions=True)
        failures = []
        for pod, result in zip(self._pods, results, strict=True):
            if isinstance(result, PodError):
                failures.append(str(result))
            elif isinstance(result, BaseException):
                raise result
            elif result != 0:
                failures.append(f"{pod.name} ended with {result} after SIGTERM, not with 0.")
        self._say(f"All pods have stopped, after {time.monotonic() - began:.1f} s.")
        return tuple(failures)

    async def _account(self, kill: KilledPod, killed_ns: int, settled: bool) -> Run:
        failures = () if self._settings.keep else await self._stop_pods()
        self._receipts += self._tail.read_new()
        sent = self._traffic.sent
        dead_letters = await self._view.partitions([self._dead_letter_topic])
        account = balance(
            sent,
            self._receipts,
            parked=await stored_deliveries(
                self._view.consumer, await self._view.committed_parked()
            ),
            dead=await stored_deliveries(self._view.consumer, dict.fromkeys(dead_letters, 0)),
        )
        earlier = [event for event in sent if event.produced_ns < killed_ns]
        received_earlier = [r for r in self._receipts if r.received_ns < killed_ns]
        untouched = [event for event in sent if event.partition not in kill.partitions]
        return Run(
            balance=account,
            events=len(sent),
            refused=len(self._traffic.refused),
            settled=settled,
            kill=kill,
            duplicates_elsewhere=_duplicates_of(account, untouched),
            silence_before=_longest(earlier, received_earlier),
            silence=_longest(untouched, self._receipts),
            began_ns=self._began_ns,
            failed_stops=failures,
        )

    async def _watch(self) -> None:
        """Show the present moment once a second."""
        began = shown = time.monotonic()
        delivered_before = 0
        latest = Ownership("unknown", frozenset(), {})
        backlog = Backlog(0, 0)
        while True:
            await asyncio.sleep(max(0.0, shown + 1 - time.monotonic()))
            elapsed, shown = time.monotonic() - shown, time.monotonic()
            state = "the coordinator does not answer"
            with suppress(KafkaError):
                latest = (await self._view.ownership()).or_last_known(latest)
                backlog = await self._view.backlog()
                state = "" if latest.state == "Stable" else "rebalancing"
            self._receipts += self._tail.read_new()
            delivered = sum(receipt.accepted for receipt in self._receipts)
            self._display.show(
                Progress(
                    seconds=shown - began,
                    state=state,
                    pods=[
                        PodProgress(pod.name, len(latest.of_pod(pod.name)), pod.running)
                        for pod in self._pods
                    ],
                    events=len(self._traffic.sent),
                    delivered=delivered,
                    per_second=(delivered - delivered_before) / elapsed,
                    backlog=backlog.fresh,
                    parked=backlog.parked,
                )
            )
            delivered_before = delivered

    async def _ownership_when(self, fulfilled: Callable[[Ownership], bool], what: str) -> Ownership:
        give_up = time.monotonic() + 60 + self._settings.workers
        while time.monotonic() < give_up:
            with suppress(KafkaError):
                now = await self._view.ownership()
                if fulfilled(now):
                    return now
            await asyncio.sleep(POLL_SECONDS)
        raise PlayError(f"waited in vain until {what}")

    def _owns_all(self, now: Ownership) -> bool:
        return now.state == "Stable" and len(now.owners) == self._partitions

    def _is_complete(self, now: Ownership) -> bool:
        return self._owns_all(now) and len(now.members) == self._settings.workers

    def _check_pods(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            if not pod.running:
                raise PlayError(f"{pod.name} ended by itself; its last words:\n{pod.log_tail()}")

    def _say(self, text: str) -> None:
        seconds = (time.time_ns() - self._began_ns) / 1e9
        self._display.say(f"{seconds:4.1f} s  {text}")


def _longest(sent: Sequence[Sent], receipts: Sequence[Receipt]) -> Silence | None:
    silences = longest_silences(sent, receipts).values()
    return max(silences, key=lambda silence: silence.seconds, default=None)


def _duplicates_of(account: Balance, events: Sequence[Sent]) -> int:
    ids = {event.event_id for event in events}
    return sum(event_id in ids for event_id, _ in account.duplicates)
