"""Turns environment variables into checked settings, with one sentence for every mistake."""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from app_worker.conversion import SecretStr
from app_worker.errors import EnvironmentProblems
from app_worker.variables import (
    InvalidSettingsError,
    Settings,
    Variable,
    variable_of,
    variables,
    written,
)

MASK = "******"
LONGEST_SHOWN_VALUE = 120
_USERINFO = re.compile(r"//[^/\s]*@")

S = TypeVar("S", bound=Settings)


def load(cls: type[S], environ: Mapping[str, str]) -> S:
    """Read ``cls`` from ``environ``; an empty text counts as unset.

    Raises EnvironmentProblems with every mistake that was found.
    """
    settings, problems = examine(cls, environ)
    if settings is None or problems:
        raise EnvironmentProblems(problems)
    return settings


def examine(cls: type[S], environ: Mapping[str, str]) -> tuple[S | None, tuple[str, ...]]:
    """Read ``cls`` and list its mistakes, without raising.

    Where single variables are wrong, their defaults stand in the settings, so that the others can
    still be checked with each other; None if not even that can be had.
    """
    texts, unread, problems = _texts(cls, environ)
    settings: S | None
    try:
        settings = cls(**texts)
    except InvalidSettingsError as error:
        problems += [
            _mistake(cls, field, texts.get(field), reason)
            for field, reason in error.mistakes.items()
            if field not in unread
        ]
        settings = _without(cls, texts, error.mistakes)
    if settings is not None:
        problems += news(problems, settings.mistakes())
    return settings, tuple(problems)


def news(problems: Iterable[str], more: Iterable[str]) -> list[str]:
    """Those of ``more`` that name no variable which ``problems`` already call wrong."""
    wrong = {problem.split(" ", 1)[0] for problem in problems}
    return [
        text for text in dict.fromkeys(more) if not wrong.intersection(re.findall(r"\w+", text))
    ]


def unknown_variables(
    classes: Iterable[type[Settings]], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """One warning for each variable that has a prefix of ours and that nothing reads.

    Warnings only: Kubernetes injects such names (``KAFKA_PORT=tcp://...``) for a service "kafka".
    """
    known: set[str] = set()
    prefixes: set[str] = set()
    for cls in classes:
        prefixes.add(cls.env_prefix)
        for variable in variables(cls):
            known.add(variable.name)
            if variable.secret:
                known.add(variable.file_name)
    strangers = sorted(
        name
        for name in environ
        if name not in known and name.upper().startswith(tuple(prefixes)) and environ[name]
    )
    return tuple(_stranger(name, known) for name in strangers)


def describe(settings: Settings) -> list[tuple[str, str]]:
    """The effective values, each with its variable's name; secrets are masked."""
    described = []
    for variable in variables(type(settings)):
        value = getattr(settings, variable.field)
        masked = bool(value) and isinstance(value, SecretStr)
        described.append((variable.name, MASK if masked else written(value)))
    return described


def settings_table(classes: Iterable[type[Settings]]) -> str:
    """The variables as a Markdown table, for the documentation."""
    lines = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for cls in classes:
        for variable in variables(cls):
            default = f"`{variable.default}`" if variable.default else ""
            name = f"`{variable.name}`" + (f" or `{variable.file_name}`" if variable.secret else "")
            lines.append(
                f"| {name} | {'required' if variable.required else default} "
                f"| {variable.allowed} | {variable.meaning} |"
            )
    return "\n".join(lines) + "\n"


def sentence(name: str, value: str, allowed: str, reason: str = "") -> str:
    """One mistake as one sentence. ``value`` and ``reason`` must be safe to show."""
    return f"{name} is {value}, but must be {allowed}{f' ({reason})' if reason else ''}."


def _texts(
    cls: type[Settings], environ: Mapping[str, str]
) -> tuple[dict[str, str], set[str], list[str]]:
    """The texts that are set, by field; the fields whose file is wrong, and what is."""
    texts: dict[str, str] = {}
    unread: set[str] = set()
    problems: list[str] = []
    for variable in variables(cls):
        try:
            text = _text(variable, environ)
        except EnvironmentProblems as error:
            problems.extend(error.problems)
            unread.add(variable.field)
            text = MASK  # so that the secret is not called unset as well
        if text is not None:
            texts[variable.field] = text
    return texts, unread, problems


def _without(cls: type[S], texts: Mapping[str, str], wrong: Collection[str]) -> S | None:
    """The settings with defaults for the wrong fields, and the mask for those that have none."""
    sound = {field: text for field, text in texts.items() if field not in wrong}
    masked = {field: MASK for field in wrong if cls.fields[field].is_required}
    try:
        return cls(**sound, **masked)
    except InvalidSettingsError:
        return None


def _text(variable: Variable, environ: Mapping[str, str]) -> str | None:
    text = environ.get(variable.name) or None
    file = environ.get(variable.file_name) if variable.secret else None
    if not file:
        return text
    if text is not None:
        raise EnvironmentProblems(
            (f"{variable.name} and {variable.file_name} are both set, but only one may be.",)
        )
    return _secret_of(variable, file)


def _secret_of(variable: Variable, file: str) -> str:
    try:
        content = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        # Not the text of a UnicodeDecodeError: it shows bytes of the secret.
        reason = (
            os.strerror(error.errno)
            if isinstance(error, OSError) and error.errno
            else "no UTF-8 text"
        )
    else:
        secret = content.rstrip("\r\n")
        if secret:
            return secret
        reason = "it is empty"
    raise EnvironmentProblems(
        (sentence(variable.file_name, repr(file), "a file that holds the secret", reason),)
    )


def _mistake(cls: type[Settings], field: str, text: str | None, reason: ValueError | None) -> str:
    variable = variable_of(cls, field)
    if text is None:
        return sentence(variable.name, "not set", variable.allowed)
    shown = MASK if variable.secret else _shown(text)
    return sentence(variable.name, shown, variable.allowed, str(reason or ""))


def _shown(text: str) -> str:
    text = _USERINFO.sub(f"//{MASK}@", text)  # Nobody knows what was meant: it may be a password.
    short = text if len(text) <= LONGEST_SHOWN_VALUE else text[:LONGEST_SHOWN_VALUE] + "..."
    return repr(short)


def _stranger(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # Hardly anybody ever mistypes one.

    alike = get_close_matches(name.upper(), known, n=1, cutoff=0.85)
    hint = f"; did you mean {alike[0]}?" if alike else "."
    return f"{name} is not a variable of this program and is ignored{hint}"
