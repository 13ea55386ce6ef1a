"""What it costs a record that its partition could be handed over, while none is."""

from collections.abc import Collection, Mapping
from statistics import median

from app_worker.handover import Word
from app_worker.handover.needs import Deliver, Mode, Place, Words
from benchmarks.controller.cost import BYTES, RECORDS, controlled
from benchmarks.controller.ground import fill

IN_FLIGHT = 100


class Nobody:
    """Writes no words and reads none: nothing moves before the time is taken, and then all ends."""

    async def open(self, group: str, nonce: int, topic: str) -> Place:
        """What is in flight is drained."""
        raise OSError(f"release {nonce} of {group} is not begun: nothing of {topic} is handed over")

    async def tell(self, partition: int, word: Word) -> None:
        """Nothing was opened."""

    def read_from(self, places: Mapping[int, int]) -> None:
        """Nothing is held."""

    def rest(self) -> None:
        """It does nothing else."""

    async def ends(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Nothing is held."""
        return dict.fromkeys(partitions, 0)

    async def close(self) -> None:
        """There is nothing to close."""


def words() -> Words:
    """Those of a worker that hands over."""

    def reader(_: Deliver) -> Nobody:
        return Nobody()

    return Words(Mode(None), Nobody(), reader)


async def measure(servers: str, repeat: int) -> None:
    """Print the table: both in turns, and the ratio of each pair."""
    topic = "handover"
    await fill(servers, topic, RECORDS, BYTES)
    await controlled(servers, topic, "first", IN_FLIGHT)
    pairs = []
    for number in range(repeat):
        both = {"off": None, "on": words()}
        order = list(both) if number % 2 else list(both)[::-1]
        took = {
            name: await controlled(servers, topic, f"{name}-{number}", IN_FLIGHT, both[name])
            for name in order
        }
        pairs.append((took["off"], took["on"]))
    off, on = (median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(on / off for off, on in pairs)
    print(f"{RECORDS} records of {BYTES} bytes, {IN_FLIGHT} in flight, {repeat} pairs in turns\n")
    print("| hand-over off, us of CPU a record | on | ratio, median of pairs | least | most |")
    print("|---|---|---|---|---|")
    print(f"| {off:.2f} | {on:.2f} | {median(ratios):.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f} |")
