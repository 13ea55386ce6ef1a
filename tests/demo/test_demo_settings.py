"""What the demo can be told through the environment."""

import pytest

from deploy.demo.settings import DemoSettings, DemoSettingsError


def test_an_empty_environment_gives_the_small_demo() -> None:
    settings = DemoSettings.from_environment({"DEMO_PODS": "", "KEEP": "0"})
    assert settings == DemoSettings(pods=2, processes=4, rate=100, seconds=20)
    assert settings.workers == 8


def test_the_whole_fleet_on_another_version_is_three_variables() -> None:
    settings = DemoSettings.from_environment(
        {"DEMO_PODS": "25", "KAFKA_VERSION": "4.1.0", "KEEP": "1"}
    )
    assert (settings.workers, settings.kafka_version, settings.keep) == (100, "4.1.0", True)


def test_every_mistake_is_named_with_what_is_allowed() -> None:
    wrong = {"DEMO_PODS": "1", "DEMO_RATE": "many", "DEMO_SECONDS": "-3", "KAFKA_VERSION": "9"}
    with pytest.raises(DemoSettingsError) as caught:
        DemoSettings.from_environment(wrong)
    assert str(caught.value).splitlines() == [
        "DEMO_PODS='1': allowed is a whole number from 2 to 100",
        "DEMO_RATE='many': allowed is a whole number from 1 to 100000",
        "DEMO_SECONDS='-3': allowed is a whole number from 5 to 86400",
        "KAFKA_VERSION='9': known are 2.8.1, 3.9.1, 4.1.0",
    ]
