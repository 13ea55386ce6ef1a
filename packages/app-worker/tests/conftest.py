import asyncio


def pytest_configure() -> None:
    # The looptime plugin asks for an event loop before plain tests too. Without this, asyncio would
    # make one for it that nobody closes.
    asyncio.set_event_loop(None)
