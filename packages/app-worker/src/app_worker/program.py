"""Runs a worker as a whole program: from the environment to the exit code."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from aiokafka.errors import KafkaError

from app_worker.ending import run_to_end
from app_worker.environment import unknown_variables
from app_worker.errors import AppWorkerError, EnvironmentProblems
from app_worker.handler import Handler
from app_worker.observability.logs import configure_logging
from app_worker.observability.metrics import create_registry
from app_worker.settings import KafkaSettings, WorkerSettings, load_settings
from app_worker.worker import EXIT_MISCONFIGURED, WorkerPlan, run_worker
from kafka_utils import KafkaUtilsError

SPOKEN = (AppWorkerError, KafkaUtilsError, KafkaError, OSError)
"""Exceptions whose text may be logged: they speak of brokers, files and settings only."""

_log = logging.getLogger(__name__)


def run_program(
    plan: WorkerPlan,
    handler: AbstractAsyncContextManager[Handler],
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Read the settings, log as JSON, work until a stop signal; return the exit code.

    Mistakes in the environment go to standard error, one a line, and end the program with 2. A
    layer above with settings of its own composes the same parts in its own way.
    """
    try:
        kafka, worker = load_settings(environ)
    except EnvironmentProblems as error:
        print(error, file=sys.stderr)
        return EXIT_MISCONFIGURED
    configure_logging(worker.log_level, spoken=SPOKEN, worker=worker.process_index)
    for warning in unknown_variables((KafkaSettings, WorkerSettings), environ):
        _log.warning("%s", warning)
    return run_to_end(run_worker(plan, kafka, worker, handler, create_registry()))
