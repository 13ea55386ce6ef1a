"""The rules that configuration fields obey, and the collection of what breaks them."""

import os
import re
from collections.abc import Collection

from kafka_utils.errors import ConfigurationError, Problem

MAX_INT32 = 2**31 - 1
"""The largest number that a Kafka request can carry for a time or a size."""

HIDDEN = "(hidden)"
"""What a problem shows of a secret."""

_SHOWN_CHARACTERS = 100
_LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?P<host>\[.+\]|[^\[\]:]+):(?P<port>[0-9]{1,5})")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_MAX_PORT = 65_535


def shown(value: object) -> str:
    """Return the value as a problem shows it: texts and numbers, of all else only the type."""
    if value is None:
        return "not set"
    if isinstance(value, str | int | float | os.PathLike):
        text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
        if len(text) > _SHOWN_CHARACTERS:
            return f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"
        return text
    return f"of type {type(value).__name__}"


def is_server(text: str) -> bool:
    """Tell whether the text is ``host:port``, an IPv6 address in brackets: ``[::1]:9092``."""
    match = _SERVER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= _MAX_PORT:
        return False
    host = match["host"]
    if not host.startswith("["):
        return _HOST_NAME.fullmatch(host) is not None
    import ipaddress  # For these few only: it is no small module.

    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


class Inspection:
    """Looks at the fields of one configuration value and collects every problem before it raises.

    Each method states one rule about one field. A rule about several fields asks ``sound`` first,
    so that a field that is wrong by itself is reported once.
    """

    def __init__(self, subject: object) -> None:
        self._subject = subject
        self.problems: list[Problem] = []

    def report(self, field: str, allowed: str, value: str | None = None) -> None:
        """Note a problem; ``value`` replaces what would be shown of the field's own."""
        given = shown(getattr(self._subject, field)) if value is None else value
        self.problems.append(Problem(field, given, allowed))

    def sound(self, *fields: str) -> bool:
        """Tell whether none of the fields has a problem so far."""
        return not {problem.field for problem in self.problems}.intersection(fields)

    def conclude(self) -> None:
        """Raise a ConfigurationError if there was any problem."""
        if self.problems:
            raise ConfigurationError(self.problems)

    def whole_number(self, field: str, unit: str, least: int = 1) -> None:
        """The field is a whole number of the unit that a Kafka request can carry."""
        value = getattr(self._subject, field)
        if type(value) is not int or not least <= value <= MAX_INT32:
            self.report(field, f"a whole number of {unit} from {least} to {MAX_INT32}")

    def one_of(self, field: str, choices: Collection[str]) -> None:
        """The field is one of the choices."""
        value = getattr(self._subject, field)
        if not isinstance(value, str) or value not in choices:
            self.report(field, f"one of {', '.join(choices)}")

    def instance(self, field: str, kind: type) -> None:
        """The field is a value of that class."""
        if not isinstance(getattr(self._subject, field), kind):
            self.report(field, f"a {kind.__name__}")

    def printable(self, field: str, *, secret: bool = False) -> None:
        """The field is text that is not blank and has no control characters."""
        value = getattr(self._subject, field)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            hide = secret and value is not None
            allowed = "text of printable characters, and not blank"
            self.report(field, allowed, HIDDEN if hide else None)

    def legal_name(self, field: str) -> None:
        """The field is a name as Kafka allows it for topics and for static members."""
        value = getattr(self._subject, field)
        legal = isinstance(value, str) and _LEGAL_NAME.fullmatch(value) is not None
        if not legal or value in (".", ".."):
            self.report(
                field,
                "1 to 249 characters out of letters, digits, '.', '_' and '-', and not '.' or '..'",
            )

    def readable_file(self, field: str) -> None:
        """The field is the path of a file that this process may read."""
        path = getattr(self._subject, field)
        if not isinstance(path, os.PathLike):
            self.report(field, "a pathlib.Path")
            return
        try:
            with open(path, "rb"):  # noqa: PTH123 - without pathlib a consumer starts sooner
                pass
        except OSError as error:
            self.report(field, f"a file that can be read ({error.strerror})")
        except ValueError as error:
            self.report(field, f"a file that can be read ({error})")

    def servers(self, field: str) -> None:
        """The field is a tuple of at least one ``host:port``; each wrong one is a problem."""
        value = getattr(self._subject, field)
        if not isinstance(value, tuple) or not value:
            self.report(field, "a tuple of at least one host:port")
            return
        for server in value:
            if not isinstance(server, str) or not is_server(server):
                self.report(
                    field,
                    "host:port with a port from 1 to 65535 (IPv6 in brackets: [::1]:9092)",
                    shown(server),
                )

    def distinct(self, field: str) -> None:
        """The field is a tuple of at least one text, none of them twice."""
        value = getattr(self._subject, field)
        if not isinstance(value, tuple) or not value:
            self.report(field, "a tuple of at least one name")
            return
        for position, name in enumerate(value):
            if not isinstance(name, str):
                self.report(field, "a tuple of names", shown(name))
            elif name in value[:position]:
                self.report(
                    field, "a tuple that has each name once", f"{shown(name)} more than once"
                )

    def longer_than(self, field: str, other: str, because: str, *, plus: str | None = None) -> None:
        """The field is a longer time than the other (and one more) together, in milliseconds."""
        others = (other, plus) if plus else (other,)
        if not self.sound(field, *others):
            return
        limits = {name: getattr(self._subject, name) for name in others}
        if getattr(self._subject, field) <= sum(limits.values()):
            named = " and ".join(f"{name} ({limit})" for name, limit in limits.items())
            together = " together" if plus else ""
            self.report(field, f"longer than {named}{together}, {because}")
