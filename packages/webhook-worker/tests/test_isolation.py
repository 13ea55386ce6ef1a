"""One endpoint's trouble costs the others nothing: who may make an attempt, and when."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from webhook_worker.attempt import Answered, Attempt, Failed
from webhook_worker.endpoint import Endpoint, Limits
from webhook_worker.isolation.gate import Isolation, Refusal
from webhook_worker.metrics import WebhookMetrics
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url

pytestmark = pytest.mark.looptime

SECRET = Secret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OK, TIMEOUT = Answered(200), Failed("timeout", "no answer within 15 s")


def endpoint(name: str, limits: Limits = Limits()) -> Endpoint:  # noqa: B008 - a frozen value
    url = parse_url("https://hooks.example/")
    return Endpoint(id=name, customer_id="acme", url=url, secrets=(SECRET,), limits=limits)


def now() -> float:
    return asyncio.get_running_loop().time()


class Fleet:
    """Places for deliveries, as a worker has them, and endpoints that answer as the test says."""

    def __init__(
        self,
        places: int = 100,
        most: int | None = None,
        share: float = 1.0,
        waits: float = 0.0,
    ) -> None:
        """``waits`` is the part of all time in which this process waits for a processor."""
        self.registry = CollectorRegistry()
        metrics = WebhookMetrics(self.registry)
        self.isolation = Isolation(
            places,
            most or places,
            metrics,
            share=lambda: share,
            jitter=lambda: 0.0,
            waited=lambda: waits * now(),
        )
        self.answers: dict[str, tuple[float, Attempt]] = {}
        self.seen: Counter[tuple[str, str]] = Counter()
        self.times: dict[str, list[float]] = {}
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self._places = asyncio.Semaphore(places)

    async def deliver(self, to: Endpoint) -> str:
        """As the worker does; return what came of it: a word."""
        began = now()
        permit = await self.isolation.enter(to)
        if isinstance(permit, Refusal):
            self.seen[to.id, permit.reason] += 1
            await asyncio.sleep(0.05)  # Until it is parked.
            return permit.reason
        self.at_once[to.id] += 1
        self.most_at_once[to.id] = max(self.most_at_once[to.id], self.at_once[to.id])
        seconds, attempt = self.answers.get(to.id, (0.2, OK))
        made = None
        try:
            await asyncio.sleep(seconds)
            made = attempt
        finally:
            self.at_once[to.id] -= 1
            self.isolation.leave(permit, made)
        word = "ok" if attempt is OK else "failed"
        self.seen[to.id, word] += 1
        self.times.setdefault(to.id, []).append(now() - began)
        return word

    async def flood(self, pick: Callable[[int], Endpoint], seconds: float) -> None:
        """Deliver without end, as many at a time as there are places."""
        ends = now() + seconds
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while now() < ends:
            await self._places.acquire()
            task = asyncio.create_task(self._in_a_place(pick(number)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_a_place(self, to: Endpoint) -> None:
        try:
            await self.deliver(to)
        finally:
            self._places.release()

    def delivered(self, *names: str) -> int:
        return sum(self.seen[name, "ok"] for name in names)


async def of_a_flood(hanging: int) -> tuple[int, float]:
    """What 40 healthy endpoints of 50 get in two minutes, of which the others hang or not."""
    fleet = Fleet()
    endpoints = [endpoint(str(number)) for number in range(50)]
    for each in endpoints[:hanging]:
        fleet.answers[each.id] = (15.0, TIMEOUT)
    await fleet.flood(lambda number: endpoints[number * 7 % 50], 120)
    healthy = [each.id for each in endpoints[10:]]
    times = sorted(seconds for name in healthy for seconds in fleet.times[name])
    return fleet.delivered(*healthy), times[len(times) * 99 // 100]


async def test_a_fifth_of_the_endpoints_may_hang_and_the_others_lose_nothing() -> None:
    alone, quick = await of_a_flood(0)
    beside, still_quick = await of_a_flood(10)
    assert beside >= 0.95 * alone
    assert still_quick <= 1.2 * quick


async def test_the_only_endpoint_there_is_gets_every_place_within_a_few_rounds() -> None:
    fleet = Fleet()
    only = endpoint("only")
    words = await asyncio.gather(*(fleet.deliver(only) for _ in range(100)))
    assert Counter(words) == {"ok": 100}
    assert now() <= 1.5
    await fleet.flood(lambda _: only, 2)
    assert fleet.most_at_once["only"] == 100


async def test_an_endpoint_that_begins_to_hang_gives_the_places_back_that_wait_for_it() -> None:
    fleet = Fleet()
    slow, other = endpoint("slow"), endpoint("other")
    fleet.answers["slow"] = (15.0, TIMEOUT)
    waiting = [asyncio.create_task(fleet.deliver(slow)) for _ in range(60)]
    await asyncio.sleep(0.5)
    assert fleet.registry.get_sample_value("webhook_waiting") == 58
    assert await fleet.deliver(other) == "ok"
    await asyncio.sleep(1)
    assert fleet.seen == {("other", "ok"): 1, ("slow", "endpoint_busy"): 58}
    assert await fleet.deliver(slow) == "endpoint_busy"
    await asyncio.gather(*waiting)


async def test_three_failures_open_the_circuit_and_one_probe_at_a_time_closes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    fleet = Fleet()
    flaky = endpoint("flaky")
    fleet.answers["flaky"] = (0.1, Answered(503))
    assert [await fleet.deliver(flaky) for _ in range(4)] == [*["failed"] * 3, "circuit_open"]
    assert fleet.registry.get_sample_value("webhook_open_circuits") == 1
    refusal = await fleet.isolation.enter(flaky)
    assert isinstance(refusal, Refusal)
    assert 4.5 < refusal.seconds <= 5
    await asyncio.sleep(5)
    fleet.answers["flaky"] = (0.1, OK)
    words = await asyncio.gather(*(fleet.deliver(flaky) for _ in range(5)))
    assert Counter(words) == {"ok": 1, "circuit_open": 4}
    assert await fleet.deliver(flaky) == "ok"
    assert fleet.registry.get_sample_value("webhook_open_circuits") == 0
    said = [(one.message, one.__dict__["endpoint"]) for one in caplog.records]
    assert said == [("a circuit was opened", "flaky"), ("a circuit was closed", "flaky")]


async def test_who_waits_when_a_circuit_opens_is_turned_away_at_once() -> None:
    fleet = Fleet()
    flaky = endpoint("flaky", Limits(concurrency=1))
    fleet.answers["flaky"] = (0.1, Answered(500))
    words = await asyncio.gather(*(fleet.deliver(flaky) for _ in range(10)))
    assert Counter(words) == {"failed": 3, "endpoint_busy": 7}
    assert now() <= 0.4


async def test_what_was_known_of_another_url_does_not_count() -> None:
    fleet = Fleet()
    wrong = endpoint("one")
    fleet.answers["one"] = (0.1, Failed("connect", "refused"))
    assert [await fleet.deliver(wrong) for _ in range(4)][-1] == "circuit_open"
    assert await fleet.deliver(replace(wrong, ordered="block")) == "circuit_open"
    fleet.answers["one"] = (0.1, OK)
    assert await fleet.deliver(replace(wrong, url=parse_url("https://right.example/"))) == "ok"


@pytest.mark.parametrize("attempt", [Answered(400), Answered(404), Failed("dns", "", ours=True)])
async def test_a_refused_event_and_a_fault_of_ours_open_no_circuit(attempt: Attempt) -> None:
    fleet = Fleet()
    fleet.answers["picky"] = (0.1, attempt)
    picky = endpoint("picky")
    assert [await fleet.deliver(picky) for _ in range(20)] == ["failed"] * 20


async def test_an_endpoint_never_has_more_attempts_than_its_limit() -> None:
    fleet = Fleet()
    small = endpoint("small", Limits(concurrency=4))
    await fleet.flood(lambda _: small, 5)
    assert fleet.most_at_once["small"] == 4
    assert fleet.delivered("small") >= 95


async def test_no_endpoint_has_more_attempts_than_the_process_allows() -> None:
    fleet = Fleet(most=7)
    await fleet.flood(lambda _: endpoint("any", Limits(concurrency=50)), 5)
    assert fleet.most_at_once["any"] == 7


async def test_one_that_may_have_few_attempts_leaves_the_places_to_the_others() -> None:
    alone, beside = Fleet(), Fleet()
    small = endpoint("small", Limits(concurrency=2))
    others = [endpoint(str(number)) for number in range(10)]
    await alone.flood(lambda number: others[number % 10], 20)
    await beside.flood(lambda number: small if number % 2 else others[number // 2 % 10], 20)
    names = [each.id for each in others]
    assert beside.delivered(*names) >= 0.5 * alone.delivered(*names)
    assert beside.delivered("small") >= 0.9 * 20 * 2 / 0.2


async def test_one_that_takes_long_does_not_hold_more_than_half_of_the_places() -> None:
    fleet = Fleet()
    slow, quick = endpoint("slow"), endpoint("quick")
    fleet.answers["slow"] = (3.0, OK)
    await fleet.flood(lambda number: quick if number % 10 == 0 else slow, 60)
    assert fleet.most_at_once["slow"] <= 50
    assert fleet.delivered("quick") >= 2_000


async def test_one_that_takes_long_and_is_alone_is_still_served_at_many_places() -> None:
    fleet = Fleet()
    fleet.answers["slow"] = (3.0, OK)
    await fleet.flood(lambda _: endpoint("slow"), 60)
    assert fleet.delivered("slow") >= 40 * 60 / 3 / 2


@pytest.mark.parametrize("hanging", [0, 2])
async def test_where_all_take_long_they_have_every_place(hanging: int) -> None:
    fleet = Fleet(places=20)
    endpoints = [endpoint(str(number)) for number in range(10)]
    for number, each in enumerate(endpoints):
        fleet.answers[each.id] = (15.0, TIMEOUT) if number < hanging else (1.5, OK)
    await fleet.flood(lambda number: endpoints[number * 7 % 10], 60)
    share = 0.75 if hanging else 0.95
    assert fleet.delivered(*(each.id for each in endpoints)) >= share * 60 * 20 / 1.5


async def test_quick_ones_that_come_back_have_places_again_at_once() -> None:
    fleet = Fleet(places=20)
    slow = [endpoint(f"slow {number}") for number in range(8)]
    quick = [endpoint(f"quick {number}") for number in range(2)]
    for each in slow:
        fleet.answers[each.id] = (1.5, OK)
    for each in quick:
        fleet.answers[each.id] = (0.05, OK)

    def pick(number: int) -> Endpoint:
        return quick[number % 2] if now() > 30 and number % 5 == 0 else slow[number % 8]

    await fleet.flood(pick, 30)
    assert fleet.delivered(*(each.id for each in slow)) >= 0.9 * 30 * 20 / 1.5
    began = now()
    beside = Fleet(places=20)
    beside.answers |= fleet.answers
    await fleet.flood(pick, 30)
    await beside.flood(pick, 30)
    names = [each.id for each in quick]
    assert now() > began + 59
    assert fleet.delivered(*names) >= 0.9 * beside.delivered(*names) > 100
    assert max(seconds for name in names for seconds in fleet.times[name]) < 0.2


async def test_the_rate_limit_of_an_endpoint_is_divided_by_the_share_of_the_work() -> None:
    fleet = Fleet(share=0.25)
    limited = endpoint("limited", Limits(rate=40))
    await fleet.flood(lambda _: limited, 30)
    assert 290 <= fleet.delivered("limited") <= 315
    refusal = await fleet.isolation.enter(limited)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "rate_limited"
    assert 0 < refusal.seconds <= 0.1


async def test_who_is_turned_away_uses_up_nothing_of_the_rate_limit() -> None:
    fleet = Fleet()
    limited = endpoint("limited", Limits(concurrency=1, rate=1.25))
    fleet.answers["limited"] = (0.7, OK)
    assert await fleet.deliver(limited) == "ok"
    fleet.answers["limited"] = (10.0, TIMEOUT)
    await asyncio.sleep(0.1)
    hanging = asyncio.create_task(fleet.deliver(limited))
    await asyncio.sleep(0.7)
    assert await fleet.deliver(limited) == "endpoint_busy"
    assert 1.8 <= now() <= 2.05
    assert await fleet.deliver(limited) == "endpoint_busy"
    assert await hanging == "failed"


@pytest.mark.parametrize("others", [0, 3])
async def test_a_batch_that_waits_for_an_endpoint_is_held_to_its_rate_limit(others: int) -> None:
    fleet = Fleet(places=1_000)
    limited = endpoint("limited", Limits(rate=10))
    fleet.answers["limited"] = (0.01, OK)
    slow = [endpoint(f"slow {number}") for number in range(others)]
    fleet.answers |= dict.fromkeys((each.id for each in slow), (0.5, OK))
    busy = [asyncio.create_task(fleet.deliver(each)) for each in slow]
    words = await asyncio.gather(*(fleet.deliver(limited) for _ in range(500)))
    assert now() <= 0.5
    assert Counter(words) == {"ok": 10, "rate_limited": 490}
    await asyncio.gather(*busy)


async def test_those_that_wait_and_may_all_go_at_once_are_no_more_than_the_rate_limit() -> None:
    fleet = Fleet()
    limited = endpoint("limited", Limits(rate=10, concurrency=20))
    fleet.answers["limited"] = (0.9, OK)
    words = []

    async def deliver() -> None:
        words.append((await fleet.deliver(limited), now()))

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(deliver())
            await asyncio.sleep(0.02)
    began = [at - 0.9 for word, at in words if word == "ok"]
    assert len(began) >= 15
    for first in began:
        assert sum(first <= each < first + 1 for each in began) <= 20


async def test_a_change_of_limits_counts_from_the_next_delivery_on() -> None:
    fleet = Fleet()
    await fleet.flood(lambda _: endpoint("any"), 2)
    fleet.most_at_once.clear()
    await fleet.flood(lambda _: endpoint("any", Limits(concurrency=3)), 2)
    assert fleet.most_at_once["any"] == 3


async def test_who_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    fleet = Fleet(places=10)
    one = endpoint("one", Limits(concurrency=1))
    tasks = [asyncio.create_task(fleet.deliver(one)) for _ in range(9)]
    await asyncio.sleep(0.01)
    for task in tasks[1::2]:
        task.cancel()
    await asyncio.sleep(0.01)  # The first of them gets its permit in the very turn.
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    held = fleet.isolation.state()
    assert (held["places"], held["endpoints"], held["waiting"]) == (0, 0, 0)
    assert await fleet.deliver(one) == "ok"


async def test_what_nothing_bad_is_known_of_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook_worker.isolation.gate.MOST_REMEMBERED", 5)
    fleet = Fleet()
    fleet.answers["bad"] = (0.1, TIMEOUT)
    await fleet.deliver(endpoint("bad"))
    for number in range(100):
        await fleet.deliver(endpoint(str(number)))
    assert fleet.isolation.state()["remembered"] == 5
    assert [await fleet.deliver(endpoint("bad")) for _ in range(3)][-1] == "circuit_open"


async def test_what_has_to_be_kept_for_a_while_is_forgotten_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhook_worker.isolation.gate.MOST_REMEMBERED", 5)
    fleet = Fleet()
    once = Limits(rate=0.01)
    await asyncio.gather(*(fleet.deliver(endpoint(f"once {n}", once)) for n in range(100)))
    assert fleet.isolation.state()["remembered"] == 100
    await asyncio.sleep(100)
    for number in range(100):
        await fleet.deliver(endpoint(f"other {number}"))
    assert fleet.isolation.state()["remembered"] == 5


async def test_what_is_left_of_an_endpoints_old_url_forgets_nothing_of_its_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhook_worker.isolation.gate.MOST_REMEMBERED", 0)
    fleet = Fleet()
    old = endpoint("moved")
    new = replace(old, url=parse_url("https://other.example/"), limits=Limits(rate=0.1))
    before = asyncio.create_task(fleet.deliver(old))
    await asyncio.sleep(0.1)
    assert await fleet.deliver(new) == "ok"
    await before
    assert await fleet.deliver(new) == "rate_limited"


async def test_while_the_process_itself_stands_still_no_endpoint_counts_as_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, stood = asyncio.get_running_loop(), [0.0]
    before = loop.time
    monkeypatch.setattr(loop, "time", lambda: before() + sum(stood))
    fleet = Fleet()
    endpoints = [endpoint(str(number)) for number in range(50)]

    async def work(number: int) -> None:
        for turn in range(40):
            await fleet.deliver(endpoints[(number + turn) % 50])

    works = [asyncio.create_task(work(number)) for number in range(100)]
    await asyncio.sleep(5.05)
    stood.append(0.5)  # Nothing ran for half a second.
    await asyncio.gather(*works)
    assert {reason for _, reason in fleet.seen} == {"ok"}


async def test_what_a_process_waits_for_a_processor_is_charged_to_no_endpoint() -> None:
    fleet = Fleet(waits=0.95)
    endpoints = [endpoint(str(number)) for number in range(50)]
    for each in endpoints:
        fleet.answers[each.id] = (3.0, OK)
    await fleet.flood(lambda number: endpoints[number // 3 % 50], 30)
    assert {reason for _, reason in fleet.seen} == {"ok"}


async def test_an_endpoint_that_is_silent_while_the_process_runs_is_still_found_out() -> None:
    fleet = Fleet(places=10)
    hanging, healthy = endpoint("hanging"), endpoint("healthy")
    fleet.answers["hanging"] = (15.0, TIMEOUT)
    works = [asyncio.create_task(fleet.deliver(hanging)) for _ in range(6)]
    await asyncio.sleep(1.5)
    assert await fleet.deliver(hanging) == "endpoint_busy"
    assert await fleet.deliver(healthy) == "ok"
    await asyncio.gather(*works)
