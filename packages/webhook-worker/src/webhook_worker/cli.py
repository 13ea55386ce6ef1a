"""The command line: which commands there are, and what becomes of their errors."""

import argparse
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from aiokafka.errors import KafkaError

from app_worker.delays import parse_duration
from app_worker.errors import EnvironmentProblems
from app_worker.settings import RETRY_GROUP_SUFFIX
from kafka_utils import ConfigurationError, KafkaUtilsError
from webhook_worker import __version__
from webhook_worker.commands.exit_codes import FAILED, INTERRUPTED, MISUSED
from webhook_worker.commands.words import LISTED_STATES, TEST_TYPE
from webhook_worker.errors import DirectoryError
from webhook_worker.topics import REPLICATION, RETRY_PARTITIONS, SOURCE_PARTITIONS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name
Command = Callable[[argparse.Namespace, Mapping[str, str]], int]

RUN = "run.run"

LONGEST_NAME_BYTES = 32_767
"""The most that Kafka's protocol has room for."""

EXIT_CODES = """\
exit status: 0 done; 1 tried and failed, or something was found to be wrong; 2 the arguments or the
environment are wrong and nothing was tried; 130 interrupted. All settings come from the
environment: KAFKA_*, WORKER_* and WEBHOOK_*."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser(*words[:1]).parse_args(words)
    command = code_of(arguments.command)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As Python does with standard error: names in a file can hold what no encoding has.
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments.command != RUN:
        # What aiokafka has to say is in the exceptions, which are told in one sentence.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return command(arguments, environ)
    except (EnvironmentProblems, ConfigurationError) as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return MISUSED
    except (KafkaError, KafkaUtilsError, DirectoryError) as error:
        print(str(error) or type(error).__name__, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; without this, Python would complain again while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def code_of(name: str) -> Command:
    """What a command does, ``module.function`` of ``commands``.

    It is loaded when it is called: what others need costs a worker neither time nor memory.
    """
    module, function = name.split(".")
    command: Command = getattr(import_module(f"webhook_worker.commands.{module}"), function)
    return command


def parser(first: str | None = None) -> argparse.ArgumentParser:
    """What the command line accepts, whose first word may be known: then what others take is not
    made."""
    top = argparse.ArgumentParser(
        prog="webhook-worker", description="Webhooks from Kafka.", epilog=EXIT_CODES
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    known: dict[str | None, Callable[[Commands], object]] = {
        "run": _add_run,
        "check-config": _add_check_config,
        "endpoints": _add_endpoints,
        "topics": _add_topics,
        "group": _add_consumer_group,
        "send": _add_send,
        "dead-letters": _add_dead_letters,
    }
    for add in [known[first]] if first in known else known.values():
        add(commands)
    return top


def _add_run(commands: Commands) -> None:
    _command(commands, "run", RUN, "work until SIGTERM or Ctrl-C")


def _add_check_config(commands: Commands) -> None:
    ours = _command(
        commands, "check-config", "check_config.check_config", "show the effective settings"
    )
    ours.add_argument(
        "--connect", action="store_true", help="also ask the brokers for topics and groups"
    )


def _add_endpoints(commands: Commands) -> None:
    group = _group(commands, "endpoints", "look after the endpoints")
    every = _command(
        group, "list", "endpoint_list.show_all", "print them, and in what state each is"
    )
    every.add_argument("--customer", type=_text, metavar="C", help="only those of this customer")
    every.add_argument("--state", choices=LISTED_STATES, help="only those in this state")
    every.add_argument("--json", action="store_true", help="one JSON object a line")
    check = _command(
        group, "check", "endpoints.check", "tell what is wrong in a file of them, line by line"
    )
    put = _command(
        group, "put", "endpoint_put.put", "put all of a file into the topic of endpoints"
    )
    for command in (check, put):
        command.add_argument(
            "file", type=Path, metavar="FILE", help="YAML, or JSON if it ends in .json"
        )
    delete = _command(
        group, "delete", "endpoint_put.delete", "take some out of the topic of endpoints"
    )
    delete.add_argument("ids", type=_text, nargs="+", metavar="ID", help="whom")
    trial = _command(
        group, "test", "endpoint_trial.send_test", "send one signed event, and show what came back"
    )
    trial.add_argument(
        "--type",
        type=_text,
        default=TEST_TYPE,
        metavar="T",
        help=f"of the event (default {TEST_TYPE})",
    )
    off = _command(
        group,
        "disable",
        "endpoint_switch.disable",
        "send nothing to it; what is due to it becomes dead letters",
    )
    off.add_argument("--why", type=_text, default="", metavar="TEXT", help="for those who ask")
    on = _command(
        group, "enable", "endpoint_switch.enable", "send to it again, whoever had disabled it"
    )
    for command in (trial, off, on):
        command.add_argument("id", type=_text, metavar="ID", help="the endpoint's id")


def _add_topics(commands: Commands) -> None:
    group = _group(commands, "topics", "look after the topics")
    create = _command(group, "create", "topics.create", "create those that are missing")
    for name, default, of_what in (
        ("--partitions", SOURCE_PARTITIONS, "partitions of WEBHOOK_TOPIC"),
        ("--replication", REPLICATION, "brokers that store each partition"),
        ("--retry-partitions", RETRY_PARTITIONS, "partitions of each other topic"),
    ):
        help_text = f"{of_what} (default {default})"
        create.add_argument(name, type=_count, default=default, metavar="N", help=help_text)


def _add_consumer_group(commands: Commands) -> None:
    ours = _group(commands, "group", "look after the consumer group")
    describe = _command(
        ours, "describe", "group.describe", "show its state, coordinator, members and lag"
    )
    part = describe.add_mutually_exclusive_group()
    part.add_argument("--state", action="store_true", help="without the members")
    part.add_argument("--members", action="store_true", help="only the members")
    part.add_argument("--json", action="store_true", help="everything, as JSON")
    remove = _command(
        ours,
        "remove-members",
        "group.remove_members",
        "take static members out without waiting for their sessions to end",
    )
    remove.add_argument(
        "--instance-id",
        type=_name,
        action="append",
        required=True,
        dest="instance_ids",
        metavar="ID",
        help="whom: <KAFKA_GROUP_INSTANCE_ID>-<WORKER_PROCESS_INDEX>; may be repeated",
    )
    remove.add_argument("--yes", action="store_true", help="do it")
    for command in (describe, remove):
        command.add_argument(
            "--group",
            type=_name,
            metavar="NAME",
            help=f"another than KAFKA_GROUP_ID; delay topics are read by <it>{RETRY_GROUP_SUFFIX}",
        )


def _add_send(commands: Commands) -> None:
    ours = _command(commands, "send", "send.produce", "produce sample events, keyed by customer")
    ours.add_argument(
        "--customer", type=_text, required=True, metavar="C", help="whom the event concerns"
    )
    ours.add_argument("--type", type=_text, required=True, metavar="T", help="such as order.paid")
    data = ours.add_mutually_exclusive_group()
    data.add_argument("--data", type=_text, default="{}", metavar="JSON", help="default {}")
    data.add_argument("--data-file", type=Path, metavar="F", help="a file of JSON")
    ours.add_argument(
        "--id", type=_text, metavar="ID", help="the event's id (default: a new one each)"
    )
    ours.add_argument("--count", type=_count, default=1, metavar="N", help="how many (default 1)")
    ours.add_argument(
        "--rate", type=_rate, metavar="PER_SECOND", help="how many a second (default: all at once)"
    )
    ours.add_argument(
        "--force", action="store_true", help="send also what the worker will make a dead letter"
    )


def _add_dead_letters(commands: Commands) -> None:
    group = _group(commands, "dead-letters", "look at what was given up, and deliver it again")
    every = _command(group, "list", "dead_letters.show_all", "print them, and how many by reason")
    every.add_argument("--json", action="store_true", help="one JSON object a line")
    every.add_argument("--count", action="store_true", help="only how many there are by reason")
    one = _command(group, "show", "dead_letters.show", "print everything about one of them")
    one.add_argument("place", type=_place, metavar="PARTITION:OFFSET", help="as list prints it")
    one.add_argument("--payload", action="store_true", help="the event too")
    again = _command(
        group,
        "replay",
        "dead_letters.replay_all",
        "deliver them again, each once, however often it is interrupted",
    )
    again.add_argument("--all", action="store_true", help="without any filter")
    again.add_argument("--yes", action="store_true", help="do it; else it is only said")
    again.add_argument(
        "--rate", type=_rate, metavar="PER_SECOND", help="how many a second (default: no limit)"
    )
    for command in (every, again):
        _add_filters(command)


def _add_filters(command: argparse.ArgumentParser) -> None:
    command.add_argument("--endpoint", type=_text, metavar="ID", help="of this endpoint")
    command.add_argument(
        "--reason",
        type=_text,
        action="append",
        dest="reasons",
        metavar="CODE",
        help="for this reason; may be repeated",
    )
    command.add_argument(
        "--except",
        type=_place,
        action="append",
        dest="without",
        metavar="PARTITION:OFFSET",
        help="not this one; may be repeated",
    )
    for name, what in (("--since", "not before"), ("--until", "before")):
        command.add_argument(
            name,
            type=_moment,
            metavar="TIME",
            help=f"given up {what} this: 2026-01-31T12:00:00Z, or so long ago, such as 2h or 7d",
        )


def _group(commands: Commands, name: str, help_text: str) -> Commands:
    ours = commands.add_parser(name, help=help_text, description=help_text, epilog=EXIT_CODES)
    return ours.add_subparsers(required=True, metavar="COMMAND")


def _command(
    commands: Commands, name: str, command: str, help_text: str
) -> argparse.ArgumentParser:
    ours = commands.add_parser(name, help=help_text, description=help_text, epilog=EXIT_CODES)
    ours.set_defaults(command=command)
    return ours


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8") from None
    return text


def _name(text: str) -> str:
    if not text or len(_text(text).encode()) > LONGEST_NAME_BYTES:
        raise argparse.ArgumentTypeError(f"must be a text of 1 to {LONGEST_NAME_BYTES} bytes")
    return text


def _place(text: str) -> tuple[int, int]:
    partition, colon, offset = text.partition(":")
    if not (colon and (partition + offset).isdecimal() and partition and offset):
        raise argparse.ArgumentTypeError(f"{text!r} must look like 3:1042")
    return int(partition), int(offset)


def _moment(text: str) -> int:
    """Unix milliseconds."""
    try:
        return round((time.time() - parse_duration(text)) * 1000)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h"
        ) from None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return rate
