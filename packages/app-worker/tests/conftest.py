import asyncio

from hypothesis import settings


def pytest_configure() -> None:
    # The looptime plugin asks for an event loop before plain tests too. Without this, asyncio would
    # make one for it that nobody closes.
    asyncio.set_event_loop(None)
    # How long an example takes says how busy the machine is.
    settings.register_profile("fleet", deadline=None)
    settings.load_profile("fleet")
