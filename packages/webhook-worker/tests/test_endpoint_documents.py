"""Files of endpoints as texts: YAML and JSON, with the line of every problem."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.directory import Snapshot
from webhook_worker.directory.file import load
from webhook_worker.errors import BadSecretError, DirectoryError

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
YAML = Path("endpoints.yaml")
JSON = Path("endpoints.json")


def no_file(name: str) -> Sequence[str]:
    raise BadSecretError("cannot be read: No such file or directory")


def loaded(text: str, path: Path = YAML) -> Snapshot:
    return load(text, path, no_file)


def problems_of(text: str, path: Path = YAML) -> list[str]:
    return [str(problem) for problem in loaded(text, path).problems]


def entry(endpoint_id: str, *more: str, customer: str = "acme") -> str:
    lines = [
        f"- id: {endpoint_id}",
        f"  customer_id: {customer}",
        "  url: https://acme.example/",
        f"  secrets: [{KEY}]",
        *(f"  {line}" for line in more),
    ]
    return "\n".join(lines) + "\n"


def test_yaml_and_json_say_the_same() -> None:
    yaml_text = """
endpoints:
  - id: acme-1
    customer_id: acme
    url: https://acme.example/hook
    secrets:
      - whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
    event_types: [invoice.paid]
    headers: {X-Team: billing}
    limits: {concurrency: 4, rate: 2.5}
    ordered: yes
    enabled: true
"""
    written = {
        "endpoints": [
            {
                "id": "acme-1",
                "customer_id": "acme",
                "url": "https://acme.example/hook",
                "secrets": [KEY],
                "event_types": ["invoice.paid"],
                "headers": {"X-Team": "billing"},
                "limits": {"concurrency": 4, "rate": 2.5},
                "ordered": True,
                "enabled": True,
            }
        ]
    }
    from_yaml = loaded(yaml_text)
    assert from_yaml.problems == ()
    assert len(from_yaml) == 1
    for text in (json.dumps(written), json.dumps(written, indent="\t")):
        assert loaded(text, JSON).endpoints == from_yaml.endpoints
    assert loaded(json.dumps(written)).endpoints == from_yaml.endpoints


def test_a_wrong_entry_is_off_and_the_others_are_on() -> None:
    snapshot = loaded("endpoints:\n" + entry("a") + entry("b", "limits: {rate: -1}") + entry("c"))
    assert [endpoint.id for endpoint in snapshot.endpoints] == ["a", "c"]
    assert snapshot.is_broken("b")
    assert snapshot.get("b") is None
    (problem,) = snapshot.problems
    assert (problem.line, problem.field, problem.endpoint_id) == (10, "limits.rate", "b")


def test_problems_have_the_line_of_their_field_in_yaml() -> None:
    text = """\
endpoints:
- id: a
  customer_id: 12
  secrets:
  - whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  - nonsense
  headers:
    X-A: ok
    Host: evil
-
  id: b
"""
    assert problems_of(text) == [
        "line 3, endpoint a, customer_id must be a string: put quotes around it",
        "line 2, endpoint a, url is missing",
        "line 6, endpoint a, secrets[1] must begin with whsec_ (or whsk_)",
        "line 9, endpoint a, headers.Host is set by the sender or belongs to the connection",
        "line 11, endpoint b, customer_id is missing",
        "line 11, endpoint b, url is missing",
        "line 11, endpoint b, secrets is missing: give it, or secrets_file",
    ]


def test_problems_have_the_line_of_their_field_in_json() -> None:
    text = """{
  "endpoints": [
    {
      "id": "a",
      "customer_id": 12,
      "secrets": ["nonsense",
                  ""],
      "headers": {
        "Host": "evil"
      }
    },
    7
  ],
  "version": 1
}"""
    assert problems_of(text, JSON) == [
        "line 5, endpoint a, customer_id must be a string: put quotes around it",
        "line 3, endpoint a, url is missing",
        "line 6, endpoint a, secrets[0] must begin with whsec_ (or whsk_)",
        "line 7, endpoint a, secrets[1] must begin with whsec_ (or whsk_)",
        "line 9, endpoint a, headers.Host is set by the sender or belongs to the connection",
        "line 12, the entry must be a mapping with id, customer_id, url and so on",
        "line 14, version is not known: endpoints is the only field here",
    ]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", 1, "must hold a list named endpoints"),
        ("# nothing\n", 1, "must hold a list named endpoints"),
        ("- id: a\n", 1, "must hold a list named endpoints"),
        ("text", 1, "must hold a list named endpoints"),
        ("other: 1\n", 1, "must hold a list named endpoints"),
        ("endpoints:\n", 1, "endpoints must be a list"),
        ("x: 1\nendpoints: {}\n", 2, "endpoints must be a list"),
        ("endpoints: text\n", 1, "endpoints must be a list"),
        ("endpoints: []\nendpoints: []\n", 2, "endpoints stands there more than once"),
        ("endpoints: []\n---\nendpoints: []\n", 2, "holds more than one document"),
        ("endpoints:\n- id: a\n  url: [\n", 4, "is not YAML"),
        ("endpoints:\n\t- id: a\n", 2, "is not YAML"),
        ("endpoints: []\nx: \x07\n", None, "is not YAML"),
        ("endpoints:\n- &a {id: a}\n- *a\n", 3, r"aliases \(\*name\) are not read here"),
        ("x: &a [1]\ny: [*a, *a]\nendpoints: []\n", 2, r"aliases \(\*name\) are not read here"),
        ("endpoints:\n- {<<: *a}\n", 2, r"aliases \(\*name\) are not read here"),
        ("endpoints:\n- !!python/object:os.system {}\n- id: !!python/name:os.x y\n", 3, "the tag"),
        ("endpoints:\n- {[a]: b}\n", 2, "the name of a field must be a plain text"),
        ("endpoints:\n- " + "[" * 100_000, 2, "nested too deeply"),
        ("endpoints:\n- " + "- " * 1_000 + "a", 2, "nested too deeply"),
    ],
)
def test_yaml_that_is_wrong_as_a_whole(text: str, line: int | None, sentence: str) -> None:
    with pytest.raises(DirectoryError, match=sentence) as caught:
        loaded(text)
    assert caught.value.line == line
    assert str(caught.value).startswith("endpoints.yaml")


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", 1, "must hold a list named endpoints"),
        ("[]", 1, "must hold a list named endpoints"),
        ("{}", 1, "must hold a list named endpoints"),
        ('{\n"endpoints": {}}', 2, "endpoints must be a list"),
        ('{"endpoints": [],\n"endpoints": []}', 2, "endpoints stands there more than once"),
        ('{"endpoints": [\n{"id": }]}', 2, "is not JSON: Expecting value"),
        ('{"endpoints": []}\nx', 2, "is not JSON: something follows the value"),
        ('{"endpoints": [NaN]}', 1, "is not JSON: NaN is not JSON"),
        ('{"endpoints": [' + "1" * 5000 + "]}", 1, "is not JSON: a number is too long"),
        ('{"endpoints": ' + "[" * 100_000, 1, "is not JSON: values are nested too deeply"),
    ],
)
def test_json_that_is_wrong_as_a_whole(text: str, line: int, sentence: str) -> None:
    with pytest.raises(DirectoryError, match=sentence) as caught:
        loaded(text, JSON)
    assert caught.value.line == line


def test_an_empty_list_is_a_directory_without_endpoints() -> None:
    assert len(loaded("endpoints: []")) == 0
    assert len(loaded('{"endpoints": [ ]}', JSON)) == 0


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("123", "must be a string: put quotes around it"),
        ("no", "must be a string: put quotes around it"),
        ("1_000", "must be a string: put quotes around it"),
        ("12:30", "must be a string: put quotes around it"),
        ("1e3.5", None),
        ("2026-01-02", None),
        ("2026-99-99", None),
        ("'123'", None),
        ("!!str 123", None),
        ("9" * 100, "must be a string: put quotes around it"),
        ("~", "is empty: write a value or leave the field out"),
        ("", "is empty: write a value or leave the field out"),
    ],
)
def test_plain_texts_that_yaml_reads_otherwise(written: str, problem: str | None) -> None:
    said = [problem.message for problem in loaded("endpoints:\n" + entry(written)).problems]
    assert said == ([] if problem is None else [problem])


def test_a_number_of_too_many_digits_is_one_entrys_mistake() -> None:
    snapshot = loaded("endpoints:\n" + entry("a", f"limits: {{concurrency: {'9' * 5000}}}"))
    assert [problem.field for problem in snapshot.problems] == ["limits.concurrency"]


@pytest.mark.parametrize(
    "rate", [":".join(["1"] * 200) + ".0", "!!int ''", "!!float ''", "!!int '_'", "!!int '0b'"]
)
def test_a_number_that_cannot_be_converted_is_one_entrys_mistake(rate: str) -> None:
    (problem,) = loaded("endpoints:\n" + entry("a", f"limits: {{rate: {rate}}}")).problems
    assert problem.field == "limits.rate"


def test_a_repeated_field_is_a_mistake_of_its_entry() -> None:
    text = "endpoints:\n" + entry("a", "url: https://b.example/") + entry("b")
    assert problems_of(text) == ["line 6, endpoint a, url stands there more than once"]
    assert [endpoint.id for endpoint in loaded(text).endpoints] == ["b"]
    in_json = (
        f'{{"endpoints": [{{"id": "a", "customer_id": "c", "url": "https://a.example",'
        f'"secrets": ["{KEY}"], "headers": {{"X-A": "1",\n"X-A": "2"}}}}]}}'
    )
    assert problems_of(in_json, JSON) == [
        "line 2, endpoint a, headers.X-A stands there more than once"
    ]


def test_of_two_entries_with_one_id_the_first_counts() -> None:
    text = "endpoints:\n" + entry("a", customer="one") + entry("a", customer="two")
    snapshot = loaded(text)
    assert [endpoint.customer_id for endpoint in snapshot.endpoints] == ["one"]
    assert [str(problem) for problem in snapshot.problems] == [
        "line 6, endpoint a, id is the same as that of the entry on line 2, which counts"
    ]
    assert snapshot.knows_customer("two")
    assert snapshot.endpoints_for("two", "t") == ()
    assert snapshot.broken_for("two", "t") == (None,)
    assert len(snapshot.broken) == 1
    assert not snapshot.is_broken("a")


def test_two_entries_with_one_id_are_seen_on_one_line_too() -> None:
    one = f"{{id: a, customer_id: c, url: 'https://a.example', secrets: [{KEY}]}}"
    assert len(problems_of(f"endpoints: [{one}, {one}]")) == 1


def test_entries_without_a_usable_id_are_known_as_far_as_they_can_be_read() -> None:
    snapshot = loaded(
        "endpoints:\n"
        + entry("a b")
        + entry("a b", "event_types: [t.x]", customer="some")
        + entry("a b", "enabled: false", customer="no-more")
        + entry("ok", customer="acme")
        + entry("ok", "event_types: [t.x]", customer="repeated")
        + entry("ok", "enabled: false", customer="repeated-off")
        + "- 7\n"
        + "- {customer_id: missing}\n"
    )
    assert len(snapshot.broken) == 7
    assert snapshot.broken_for("acme", "t") == (None,)
    assert snapshot.broken_for("some", "t.x") == (None,)
    assert snapshot.broken_for("some", "t") == ()
    assert snapshot.broken_for("no-more", "t") == ()
    assert snapshot.broken_for("repeated", "t.x") == (None,)
    assert snapshot.broken_for("repeated", "t") == ()
    assert snapshot.broken_for("repeated-off", "t") == ()
    assert snapshot.broken_for("missing", "t") == (None,)
    customers = ("acme", "some", "no-more", "repeated", "repeated-off", "missing")
    assert all(map(snapshot.knows_customer, customers))
    assert not snapshot.is_broken("ok")


def test_several_entries_without_an_id_are_named_once() -> None:
    snapshot = loaded("endpoints:\n" + entry("a b") + entry("") + entry("c", "ordered: 1"))
    assert snapshot.broken_for("acme", "t") == ("c", None)


def test_lookup_by_customer_and_type() -> None:
    snapshot = loaded(
        "endpoints:\n"
        + entry("all")
        + entry("some", "event_types: [a.b]")
        + entry("stopped", "enabled: false")
        + entry("other", customer="other")
        + entry("broken-all", "ordered: 1")
        + entry("broken-some", "event_types: [a.c]", "ordered: 1")
        + entry("broken-off", "enabled: false", "ordered: 1")
        + entry("12", customer="only-wrong")
    )

    def ids(event_type: str) -> list[str]:
        return [endpoint.id for endpoint in snapshot.endpoints_for("acme", event_type)]

    assert ids("a.b") == ["all", "some"]
    assert ids("a.c") == ["all"]
    assert snapshot.broken_for("acme", "a.b") == ("broken-all",)
    assert snapshot.broken_for("acme", "a.c") == ("broken-all", "broken-some")
    assert snapshot.endpoints_for("nobody", "a.b") == ()
    assert snapshot.knows_customer("only-wrong")
    assert not snapshot.knows_customer("nobody")
    stopped = snapshot.get("stopped")
    assert stopped is not None
    assert not stopped.enabled


def test_ten_thousand_endpoints_are_read_quickly() -> None:
    text = "endpoints:\n" + "".join(
        entry(f"e{n}", "event_types: [a.b, c.d]", "limits: {concurrency: 4}", customer=f"c{n}")
        for n in range(10_000)
    )
    began = time.process_time()
    assert len(loaded(text)) == 10_000
    assert time.process_time() - began < 10


@given(st.text())
def test_any_yaml_text_is_a_directory_or_refused(text: str) -> None:
    for whole in (text, "endpoints:\n" + text, "endpoints:\n- " + text):
        with suppress(DirectoryError):
            loaded(whole)


@given(st.text(), st.data())
def test_any_json_text_is_a_directory_or_refused(text: str, data: st.DataObject) -> None:
    good = json.dumps({"endpoints": [{"id": "a", "headers": {"b": ["c"]}}, [1], None]}, indent=1)
    at = data.draw(st.integers(0, len(good)))
    for whole in (text, good[:at] + text + good[at:], good[:at] + text):
        with suppress(DirectoryError):
            loaded(whole, JSON)
