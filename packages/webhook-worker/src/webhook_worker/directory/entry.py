"""Checks an entry as a customer's configuration has it, and turns it into an endpoint."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from webhook_worker.endpoint import Endpoint, Limits, OnFailure
from webhook_worker.errors import (
    BadEndpointError,
    BadSecretError,
    BadUrlError,
    FieldProblem,
)
from webhook_worker.signing import Key, parse_key
from webhook_worker.url import Url, parse_url

MAX_TEXT_CHARACTERS = 256
MAX_SECRETS = 10
MAX_EVENT_TYPES = 1000
MAX_HEADERS = 32
MAX_HEADER_NAME_CHARACTERS = 128
MAX_HEADER_VALUE_CHARACTERS = 4096
MAX_CONCURRENCY = 10_000
MIN_RATE = 0.00001
"""About one attempt a day. The part of a process must not vanish: it is divided by."""
MAX_RATE = 1_000_000

RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
"""What the sender sets itself, and what belongs to one connection (RFC 9110, 7.6.1)."""
RESERVED_HEADER_PREFIX = "webhook-"

FIELDS = (
    "id",
    "customer_id",
    "url",
    "secrets",
    "secrets_file",
    "event_types",
    "headers",
    "limits",
    "ordered",
    "enabled",
)
LIMITS = ("concurrency", "rate")

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TOKEN = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_HEADER_NAME_CHARACTERS}}}")
_HEADER_VALUE = re.compile(rf"[\x20-\x7e\xa0-\xff]{{0,{MAX_HEADER_VALUE_CHARACTERS}}}")

ReadSecrets = Callable[[str], Sequence[str]]
"""Gives the lines of a secrets file; raises BadSecretError with a sentence if it cannot be read."""


def parse_endpoint(
    entry: object, read_secrets: ReadSecrets, known: Sequence[FieldProblem] = ()
) -> Endpoint:
    """The endpoint that ``entry``, a decoded YAML or JSON value, describes.

    Raises BadEndpointError with all its problems, those ``known`` before among them, and with what
    could be read in spite of them.
    """
    if not isinstance(entry, Mapping):
        problem = FieldProblem((), "must be a mapping with id, customer_id, url and so on")
        raise BadEndpointError((problem,))
    check = _Check(entry, known)
    check.refuse_unknown(entry, FIELDS)
    endpoint_id = check.endpoint_id()
    customer_id = check.customer_id()
    url = check.url()
    secrets = check.secrets(read_secrets)
    event_types = check.event_types()
    headers = check.headers()
    limits = check.limits()
    ordered = check.ordered()
    enabled = check.flag("enabled", default=True)
    if check.problems or endpoint_id is None or customer_id is None or url is None:
        raise BadEndpointError(
            tuple(check.problems),
            endpoint_id=endpoint_id,
            customer_id=customer_id,
            event_types=event_types,
            enabled=enabled,
        )
    return Endpoint(
        id=endpoint_id,
        customer_id=customer_id,
        url=url,
        secrets=secrets,
        event_types=event_types,
        headers=headers,
        limits=limits,
        ordered=ordered,
        enabled=enabled,
    )


class _Check:
    """Reads the fields of one entry and gathers what is wrong with them."""

    def __init__(self, entry: Mapping[Any, Any], known: Sequence[FieldProblem]) -> None:
        self._entry = entry
        self.problems = list(known)

    def refuse_unknown(
        self, values: Mapping[Any, Any], known: tuple[str, ...], *parents: str
    ) -> None:
        for name in values:
            if name in known:
                continue
            from difflib import get_close_matches  # A file without mistakes has no need of it.

            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            self._wrong(f"is not known: {hint}", *parents, str(name)[:MAX_TEXT_CHARACTERS])

    def endpoint_id(self) -> str | None:
        value = self._text("id", self._required("id"))
        if value is not None and not _ID.fullmatch(value):
            self._wrong("must be 1 to 128 of A-Z a-z 0-9 . _ -", "id")
            return None
        return value

    def customer_id(self) -> str | None:
        return self._label("customer_id", self._required("customer_id"))

    def url(self) -> Url | None:
        value = self._text("url", self._required("url"))
        if value is None:
            return None
        try:
            return parse_url(value)
        except BadUrlError as error:
            self._wrong(str(error), "url")
            return None

    def secrets(self, read_secrets: ReadSecrets) -> tuple[Key, ...]:
        given = [name for name in ("secrets", "secrets_file") if name in self._entry]
        if len(given) != 1:
            said = "is missing: give it, or" if not given else "cannot stand beside"
            self._wrong(f"{said} secrets_file", "secrets")
            return ()
        name = given[0]
        if name == "secrets":
            texts = self._list(name, MAX_SECRETS)
            return self._parsed_secrets(texts, lambda index: (name, index))
        file = self._text(name, self._entry[name])
        if file is None:
            return ()
        try:
            texts = read_secrets(file)
        except BadSecretError as error:
            self._wrong(str(error), name)
            return ()
        if not 1 <= len(texts) <= MAX_SECRETS:
            self._wrong(f"must hold 1 to {MAX_SECRETS} secrets, one a line", name)
        return self._parsed_secrets(texts, lambda _: (name,))

    def _parsed_secrets(
        self, texts: Sequence[object], path: Callable[[int], tuple[str | int, ...]]
    ) -> tuple[Key, ...]:
        secrets = []
        for index, text in enumerate(texts):
            try:
                if not isinstance(text, str):
                    raise BadSecretError("must be a string")  # noqa: TRY301
                secrets.append(parse_key(text))
            except BadSecretError as error:
                self._wrong(str(error), *path(index))
        return tuple(secrets)

    def event_types(self) -> frozenset[str] | None:
        """None, which stands for all, also if any of them cannot be read."""
        if "event_types" not in self._entry:
            return None
        values = self._list("event_types", MAX_EVENT_TYPES)
        types = [self._label("event_types", value, index) for index, value in enumerate(values)]
        known = frozenset(name for name in types if name is not None)
        return known if types and None not in types else None

    def headers(self) -> tuple[tuple[str, str], ...]:
        values = self._mapping("headers")
        if len(values) > MAX_HEADERS:
            self._wrong(f"holds more than {MAX_HEADERS} headers", "headers")
            return ()
        seen: set[str] = set()
        for name, value in values.items():
            said = _wrong_header(name, value, seen)
            seen.add(str(name).lower())
            if said:
                self._wrong(said, "headers", str(name)[:MAX_HEADER_NAME_CHARACTERS])
        return tuple(values.items())

    def limits(self) -> Limits:
        values = self._mapping("limits")
        self.refuse_unknown(values, LIMITS, "limits")
        if "concurrency" in values and not _is_concurrency(values["concurrency"]):
            said = f"must be a whole number of 1 to {MAX_CONCURRENCY}"
            self._wrong(said, "limits", "concurrency")
        if "rate" in values and not _is_rate(values["rate"]):
            said = f"must be a number of {MIN_RATE:.5f} to {MAX_RATE}, in attempts a second"
            self._wrong(said, "limits", "rate")
        return Limits(values.get("concurrency"), values.get("rate"))

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._entry.get(name, default)
        if isinstance(value, bool):
            return value
        self._wrong("must be true or false", name)
        return default

    def ordered(self) -> OnFailure | None:
        value = self._entry.get("ordered", False)
        if value is False:
            return None
        if value is True:
            return "block"
        if value in ("block", "park"):
            return value  # type: ignore[no-any-return]
        self._wrong("must be block or park, or false", "ordered")
        return None

    def _required(self, name: str) -> object:
        return self._entry.get(name, _MISSING)

    def _text(self, name: str, value: object, *index: int) -> str | None:
        if isinstance(value, str):
            return value
        said = "must be a string"
        if value is _MISSING:
            said = "is missing"
        elif value is None:
            said = "is empty: write a value or leave the field out"
        elif isinstance(value, bool | int | float):
            said = "must be a string: put quotes around it"
        self._wrong(said, name, *index)
        return None

    def _label(self, name: str, value: object, *index: int) -> str | None:
        text = self._text(name, value, *index)
        if text is None or (0 < len(text) <= MAX_TEXT_CHARACTERS and not _UNPRINTABLE.search(text)):
            return text
        said = f"must be 1 to {MAX_TEXT_CHARACTERS} characters, none a control character"
        self._wrong(said, name, *index)
        return None

    def _list(self, name: str, most: int) -> Sequence[object]:
        value = self._entry[name]
        if isinstance(value, list) and 1 <= len(value) <= most:
            return value
        self._wrong(f"must be a list of 1 to {most} strings", name)
        return ()

    def _mapping(self, name: str) -> Mapping[Any, Any]:
        value = self._entry.get(name, {})
        if isinstance(value, Mapping):
            return value
        self._wrong("must be a mapping, or left out", name)
        return {}

    def _wrong(self, message: str, *path: str | int) -> None:
        self.problems.append(FieldProblem(path, message))


_MISSING = object()


def _is_concurrency(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_CONCURRENCY


def _is_rate(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return MIN_RATE <= value <= MAX_RATE


def _wrong_header(name: object, value: object, seen: set[str]) -> str | None:
    """What is wrong with a header: nothing that it holds may reach beyond its own line."""
    if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
        return f"is no header name: a token of up to {MAX_HEADER_NAME_CHARACTERS} characters"
    lower = name.lower()
    if lower in RESERVED_HEADERS or lower.startswith(RESERVED_HEADER_PREFIX):
        return "is set by the sender or belongs to the connection"
    if lower in seen:
        return "is there more than once"
    if not isinstance(value, str):
        return "must have a string as its value: put quotes around it"
    if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
        return (
            f"must have a value of up to {MAX_HEADER_VALUE_CHARACTERS} visible latin-1 characters, "
            "without space around it"
        )
    return None
