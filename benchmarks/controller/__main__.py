"""The command: `python -m benchmarks.controller cost|handover|memory|start`."""

import argparse
import asyncio
import sys

from benchmarks.controller import cost, handover, memory, start
from benchmarks.controller.ground import brokers
from deploy.local.brokers import BrokersUnavailable


def main() -> int:
    """Print what was asked for; 3 when there are no brokers here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=__doc__)
    parser.add_argument("what", choices=["cost", "handover", "memory", "start"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300.0, help="of `memory`")
    options = parser.parse_args()
    if options.what == "start":
        start.measure(options.repeat)
        return 0
    try:
        with brokers() as servers:
            if options.what == "cost":
                asyncio.run(cost.measure(servers, options.repeat))
            elif options.what == "handover":
                asyncio.run(handover.measure(servers, options.repeat))
            else:
                asyncio.run(memory.measure(servers, options.seconds))
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
