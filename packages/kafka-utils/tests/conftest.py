"""What holds for all tests of this package."""

import asyncio

from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    # pytest-asyncio asks for the current loop before it sets its own; on Python 3.11 that makes a
    # loop which nobody closes, unless it was said before that there is none.
    asyncio.set_event_loop(None)
    # How long an example takes, to make or to run, says how busy the machine is.
    late = [HealthCheck.too_slow]
    settings.register_profile("fleet", deadline=None, suppress_health_check=late)
    settings.load_profile("fleet")
