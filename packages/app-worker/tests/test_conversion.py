from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.conversion import AfterValidator, BeforeValidator, Bounds, SecretStr, converter
from app_worker.variables import InvalidSettingsError, Settings, setting


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


def _named(value: object) -> object:
    return Named(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("it is odd")
    return value


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, " a ", " a "),
        (int, "5", 5),
        (int, " +5 ", 5),
        (int, "1_000", 1000),
        (int, "5.00", 5),
        (float, "5", 5.0),
        (float, " 1e3 ", 1000.0),
        (Path, "/a", Path("/a")),
        (SecretStr, "a", SecretStr("a")),
        (Literal["a", "b"], "b", "b"),
        (str | None, "a", "a"),
        (int | None, "5", 5),
        (Annotated[str, BeforeValidator(str.upper), AfterValidator(str.title)], "ab", "Ab"),
        (Annotated[int, AfterValidator(_even)] | None, "4", 4),
    ],
)
def test_a_text_becomes_the_value_that_it_stands_for(
    annotation: Any, text: str, value: object
) -> None:
    found = converter(annotation)(text)
    assert found == value
    assert type(found) is type(value)
    assert converter(annotation)(found) == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, ""),
        (int, "5.5"),
        (int, "1__0"),
        (int, "0x10"),
        (int, "\N{ARABIC-INDIC DIGIT FIVE}"),
        (int, "9" * 5000),
        (float, "five"),
        (float, "\N{ARABIC-INDIC DIGIT FIVE}"),
        (Literal["a", "b"], "c"),
        (int | None, "many"),
        (Named, "x"),
    ],
)
def test_another_text_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        converter(annotation)(text)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(int, 5.0), (int, True), (str, 5), (Path, 5), (tuple[str, ...], "a"), (SecretStr, 5)],
)
def test_a_value_of_another_type_is_refused(annotation: Any, value: object) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        converter(annotation)(value)


def test_of_a_union_the_first_that_fits_decides_and_nothing_is_none_but_none() -> None:
    convert = converter(Annotated[Path | Named | None, BeforeValidator(_named)])
    assert convert("a") == Path("a")
    assert convert("@a").name == "a"
    assert convert(None) is None
    with pytest.raises(ValueError, match=r"^$"):
        converter(str)(None)


def test_the_reason_is_that_of_the_validator() -> None:
    with pytest.raises(ValueError, match="it is odd"):
        converter(Annotated[int, AfterValidator(_even)] | None)("3")


@given(
    st.one_of(st.integers(-20, 20), st.floats()),
    *[st.none() | st.integers(-10, 10) for _ in range(4)],
)
def test_a_number_is_within_its_bounds_or_refused(
    value: float, ge: int | None, gt: int | None, le: int | None, lt: int | None
) -> None:
    fits = (
        (ge is None or value >= ge)
        and (gt is None or value > gt)
        and (le is None or value <= le)
        and (lt is None or value < lt)
    )
    try:
        Bounds(ge=ge, gt=gt, le=le, lt=lt).check(value)
    except ValueError:
        assert not fits
    else:
        assert fits


def test_a_secret_does_not_show_itself() -> None:
    secret = SecretStr("hidden")
    assert "hidden" not in f"{secret} {secret!r}"
    assert secret == SecretStr("hidden") != SecretStr("other")
    assert not SecretStr("")
    assert secret.get_secret_value() == "hidden"


class Lamp(Settings):
    env_prefix: ClassVar[str] = "LAMP_"

    watts: Annotated[int, Bounds(ge=1)] = setting(description="Its power.")
    colour: Literal["red", "white"] = setting(default="white", description="Its light.")


def test_settings_are_values() -> None:
    lamp = Lamp(watts=5)
    assert lamp == Lamp(watts=5, colour="white") != Lamp(watts=6)
    assert lamp.with_values({"colour": "red"}) == Lamp(watts=5, colour="red")
    assert lamp.colour == "white"
    with pytest.raises(AttributeError):
        lamp.watts = 6  # type: ignore[misc]
    with pytest.raises(TypeError, match="volts"):
        Lamp(watts=5, volts=12)  # type: ignore[call-arg]


def test_every_field_that_is_wrong_is_among_the_mistakes() -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        Lamp(colour="blue")  # type: ignore[call-arg, arg-type]
    assert list(caught.value.mistakes) == ["watts", "colour"]
    assert caught.value.mistakes["watts"] is None


def test_a_field_that_says_nothing_of_itself_is_refused() -> None:
    with pytest.raises(TypeError):

        class Dark(Settings):
            env_prefix: ClassVar[str] = "DARK_"
            watts: int = 5
