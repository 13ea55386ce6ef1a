import asyncio

from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    # The looptime plugin asks for an event loop before plain tests too. Without this, asyncio would
    # make one for it that nobody closes.
    asyncio.set_event_loop(None)
    # How long an example takes, to make or to run, says how busy the machine is.
    late = [HealthCheck.too_slow]
    settings.register_profile("fleet", deadline=None, suppress_health_check=late)
    settings.load_profile("fleet")
