from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.conversion import AfterValidator, BeforeValidator, Bounds, SecretStr
from app_worker.environment import describe, examine, load, settings_table, unknown_variables
from app_worker.errors import EnvironmentProblems
from app_worker.variables import Allowed, CommaList, HoldsSecret, Settings, Unit, setting, variables


class Kettle(Settings):
    env_prefix: ClassVar[str] = "KETTLE_"

    owner: str = setting(description="Whose it is.")
    litres: Annotated[int, Unit("litres"), Bounds(ge=1, le=9)] = setting(
        default=2, description="Its size."
    )
    teas: CommaList = setting(default=("black",), description="What it can make.")
    code: SecretStr | None = setting(default=None, description="What opens it.")

    def mistakes(self) -> list[str]:
        if len(self.teas) > self.litres:
            return [f"KETTLE_TEAS has {len(self.teas)}, more than KETTLE_LITRES ({self.litres})."]
        return []


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(EnvironmentProblems) as caught:
        load(Kettle, environ)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_values_come_from_the_mapping_and_defaults_fill_the_rest() -> None:
    kettle = load(Kettle, {"KETTLE_OWNER": "Ada", "KETTLE_TEAS": " green, ,mint "})
    assert kettle == Kettle(owner="Ada", litres=2, teas=("green", "mint"), code=None)


def test_the_environment_of_the_process_is_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KETTLE_LITRES", "5")
    assert load(Kettle, {"KETTLE_OWNER": "Ada"}).litres == 2


def test_an_empty_text_counts_as_unset() -> None:
    assert load(Kettle, {"KETTLE_OWNER": "Ada", "KETTLE_LITRES": ""}).litres == 2
    assert problems(KETTLE_OWNER="") == ("KETTLE_OWNER is not set, but must be a text.",)


def test_every_mistake_is_told_at_once_with_variable_value_and_what_is_allowed() -> None:
    assert problems(KETTLE_LITRES="many", KETTLE_TEAS="a,b,c") == (
        "KETTLE_OWNER is not set, but must be a text.",
        "KETTLE_LITRES is 'many', but must be a whole number of litres from 1 to 9.",
    )
    assert problems(KETTLE_TEAS="a,b,c", KETTLE_CODE_FILE="/nowhere", KETTLE_OWNER="Ada") == (
        "KETTLE_CODE_FILE is '/nowhere', but must be a file that holds the secret "
        "(No such file or directory).",
        "KETTLE_TEAS has 3, more than KETTLE_LITRES (2).",
    )


def test_a_long_value_is_cut() -> None:
    (problem,) = problems(KETTLE_OWNER="Ada", KETTLE_LITRES="x" * 10_000)
    assert len(problem) < 300


def test_what_is_checked_together_uses_defaults_for_wrong_variables() -> None:
    kettle, found = examine(Kettle, {"KETTLE_LITRES": "0", "KETTLE_TEAS": "a,b"})
    assert kettle is not None
    assert kettle.litres == 2
    assert len(found) == 2


def test_a_secret_is_read_from_its_file_without_the_trailing_newline(tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_text("open sesame \n")
    kettle = load(Kettle, {"KETTLE_OWNER": "Ada", "KETTLE_CODE_FILE": str(file)})
    assert kettle.code is not None
    assert kettle.code.get_secret_value() == "open sesame "


def test_a_secret_given_twice_is_a_mistake(tmp_path: Path) -> None:
    assert problems(KETTLE_OWNER="Ada", KETTLE_CODE="1", KETTLE_CODE_FILE=str(tmp_path)) == (
        "KETTLE_CODE and KETTLE_CODE_FILE are both set, but only one may be.",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"\n", "it is empty"), (b"\xff", "no UTF-8 text")],
)
def test_a_file_without_a_secret_is_a_mistake(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "code"
    file.write_bytes(content)
    assert problems(KETTLE_OWNER="Ada", KETTLE_CODE_FILE=str(file)) == (
        f"KETTLE_CODE_FILE is '{file}', but must be a file that holds the secret ({reason}).",
    )


def test_only_secrets_have_a_file_variable() -> None:
    assert unknown_variables([Kettle], {"KETTLE_OWNER_FILE": "/x"}) == (
        "KETTLE_OWNER_FILE is not a variable of this program and is ignored.",
    )


def test_unknown_variables_with_our_prefix_are_named_without_their_values() -> None:
    environ = {
        "KETTLE_PORT": "tcp://10.0.0.1:80",
        "KETTLE_LITERS": "3",
        "kettle_owner": "Ada",
        "KETTLE_TEAS": "mint",
        "KETTLE_CODE_FILE": "/x",
        "PATH": "/bin",
    }
    assert unknown_variables([Kettle], environ) == (
        "KETTLE_LITERS is not a variable of this program and is ignored; "
        "did you mean KETTLE_LITRES?",
        "KETTLE_PORT is not a variable of this program and is ignored.",
        "kettle_owner is not a variable of this program and is ignored; did you mean KETTLE_OWNER?",
    )


def test_the_effective_values_are_described_with_secrets_masked() -> None:
    kettle = load(Kettle, {"KETTLE_OWNER": "Ada", "KETTLE_CODE": "1234"})
    assert describe(kettle) == [
        ("KETTLE_OWNER", "Ada"),
        ("KETTLE_LITRES", "2"),
        ("KETTLE_TEAS", "black"),
        ("KETTLE_CODE", "******"),
    ]


def test_the_table_is_made_from_the_fields() -> None:
    assert settings_table([Kettle]).splitlines()[2:] == [
        "| `KETTLE_OWNER` | required | a text | Whose it is. |",
        "| `KETTLE_LITRES` | `2` | a whole number of litres from 1 to 9 | Its size. |",
        "| `KETTLE_TEAS` | `black` | texts separated by commas | What it can make. |",
        "| `KETTLE_CODE` or `KETTLE_CODE_FILE` |  | a text | What opens it. |",
    ]


def _short(code: SecretStr) -> SecretStr:
    if len(code.get_secret_value()) > 8:
        raise ValueError("it is too long")
    return code


class Safe(Settings):
    env_prefix: ClassVar[str] = "SAFE_"

    code: Annotated[SecretStr, AfterValidator(_short)] = setting(description="Opens it.")
    size: int = setting(default=1, description="Its size.")


@given(
    code=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=20), size=st.text()
)
def test_a_secret_is_in_no_message(code: str, size: str) -> None:
    with pytest.raises(EnvironmentProblems) as caught:
        load(Safe, {"SAFE_CODE": code, "SAFE_SIZE": size.replace(code, "")})
    assert code not in str(caught.value)
    assert code not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


class Door:
    """Opened by ``name:code``."""

    def __init__(self, text: str) -> None:
        self.name, colon, self.code = text.partition(":")
        if not colon:
            raise ValueError("it has no colon")

    def __str__(self) -> str:
        return self.name


class House(Settings):
    env_prefix: ClassVar[str] = "HOUSE_"

    door: Annotated[
        Door | None,
        BeforeValidator(lambda value: Door(value) if isinstance(value, str) else value),
        Allowed("name:code"),
        HoldsSecret(),
    ] = setting(default=None, description="How to come in.")


def test_a_text_that_holds_a_secret_is_shown_as_its_value_shows_itself(tmp_path: Path) -> None:
    file = tmp_path / "door"
    file.write_text("front:1234\n")
    house = load(House, {"HOUSE_DOOR_FILE": str(file)})
    assert house.door is not None
    assert house.door.code == "1234"
    assert describe(house) == [("HOUSE_DOOR", "front")]
    assert describe(load(House, {})) == [("HOUSE_DOOR", "")]
    assert "| `HOUSE_DOOR` or `HOUSE_DOOR_FILE` |  | name:code |" in settings_table([House])


def test_a_wrong_text_that_holds_a_secret_is_told_by_its_reason_alone() -> None:
    _, problems = examine(House, {"HOUSE_DOOR": "1234"})
    assert problems == ("HOUSE_DOOR is ******, but must be name:code (it has no colon).",)


def test_a_file_of_a_secret_that_cannot_be_read_is_one_mistake() -> None:
    house, problems = examine(House, {"HOUSE_DOOR_FILE": "/nowhere"})
    assert house is not None
    assert problems == (
        "HOUSE_DOOR_FILE is '/nowhere', but must be a file that holds the secret "
        "(No such file or directory).",
    )


@given(st.dictionaries(st.sampled_from([v.name for v in variables(Safe)]), st.text()))
def test_whatever_the_texts_are_there_are_settings_or_sentences(environ: dict[str, str]) -> None:
    safe, problems = examine(Safe, environ)
    assert problems or isinstance(safe, Safe)
    assert all(problem.startswith("SAFE_") for problem in problems)
