"""What the tests of this directory share: scenes on the brokers of all tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.interop.scene import Brokers, Scene


@pytest.fixture
async def new_scene(
    cluster: Brokers, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[Scene]]]:
    """Open a scene, to be closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def new() -> Scene:
            scene = Scene(cluster, tmp_path)
            stack.push_async_callback(scene.close)
            await scene.open()
            return scene

        yield new


@pytest.fixture
async def scene(new_scene: Callable[[], Awaitable[Scene]]) -> Scene:
    return await new_scene()
