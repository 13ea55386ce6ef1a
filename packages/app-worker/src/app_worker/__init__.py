"""A worker process between a Kafka consumer group and any handler."""

from app_worker.delays import DelaySchedule
from app_worker.environment import describe, load, settings_table, unknown_variables
from app_worker.errors import AppWorkerError, EnvironmentProblems
from app_worker.handler import DeadLetter, Done, Handler, Outcome, Park
from app_worker.program import run_program
from app_worker.record import Origin, Record
from app_worker.settings import KafkaSettings, WorkerSettings, load_settings
from app_worker.version import __version__
from app_worker.worker import WorkerPlan, run_worker

__all__ = [
    "AppWorkerError",
    "DeadLetter",
    "DelaySchedule",
    "Done",
    "EnvironmentProblems",
    "Handler",
    "KafkaSettings",
    "Origin",
    "Outcome",
    "Park",
    "Record",
    "WorkerPlan",
    "WorkerSettings",
    "__version__",
    "describe",
    "load",
    "load_settings",
    "run_program",
    "run_worker",
    "settings_table",
    "unknown_variables",
]
