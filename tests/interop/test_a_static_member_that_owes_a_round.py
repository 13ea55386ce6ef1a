"""A static member of ours ends in a drain, under a leader whose plans do not say what follows."""

from tests.interop.scene import PARTITIONS, Scene

LONG_SECONDS = 60.0
REST_SECONDS = 2.0


async def test_what_it_drained_when_it_was_killed_has_an_owner_soon_after_its_return(
    scene: Scene,
) -> None:
    leader = await scene.rdkafka("leader")
    await scene.settled(*leader.members)
    options = {"instance": "static", "drain": LONG_SECONDS, "session_ms": 60_000}
    static = await scene.ours("static", rebalance_ms=200_000, **options)
    await scene.settled(*leader.members, *static.members)
    third = await scene.ours("third")
    share = PARTITIONS // 3
    await scene.until(lambda: bool(static.said("revoking")), "draining")
    await scene.until(lambda: len(scene.owned_by("third0")) == share // 2, "half a share moved")
    await scene.at_rest(REST_SECONDS)

    scene.kill(static)
    again = await scene.ours("static", **options)
    await scene.settled(*leader.members, *again.members, *third.members)
    assert [line["reason"] for line in again.said("rebalanced")][:2] == [
        "first join",
        "revoked partitions are released",
    ]
    assert not [line for line in scene.lines if line.get("leader")]
