"""The command line, as far as it needs no brokers."""

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from webhook_worker import __version__
from webhook_worker.cli import code_of, main, parser
from webhook_worker.commands import endpoints as check_command
from webhook_worker.commands.endpoint_put import read_entries
from webhook_worker.directory.table import read_entry

LEAST = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GOOD = f"""\
endpoints:
  - id: a
    customer_id: acme
    url: https://hooks.example/a?token=hidden
    secrets: [{SECRET}]
  - {{id: b, customer_id: acme, url: "http://hooks.example", secrets: [{SECRET}], enabled: false}}
"""
BAD_ENTRY = f"""\
  - id: c
    customer_id: acme
    url: ftp://hooks.example/
    secrets: [{SECRET}]
"""


@pytest.fixture
def endpoints(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.yaml"
    path.write_text(GOOD)
    return path


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"], {})
    assert capsys.readouterr().out == f"webhook-worker {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["walk"],
        ["endpoints"],
        ["endpoints", "check"],
        ["topics", "create", "--partitions", "0"],
        ["topics", "create", "--replication", "three"],
        ["send", "--type", "t"],
        ["send", "--customer", "c", "--type", "t", "--rate", "-1"],
        ["send", "--customer", "c", "--type", "t", "--data", "{}", "--data-file", "f"],
        ["send", "--customer", "\udcff", "--type", "t"],
        ["send", "--customer", "c", "--type", "\udcff"],
        ["send", "--customer", "c", "--type", "t", "--data", '"\udcff"'],
        ["send", "--customer", "c", "--type", "t", "--id", "\udcff"],
    ],
)
def test_wrong_arguments_end_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv, LEAST)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["run"],
        ["check-config"],
        ["topics", "create"],
        ["group", "describe"],
        ["group", "remove-members"],
        ["send"],
    ],
)
def test_help_explains_the_exit_status(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*argv, "--help"], {})
    assert "exit status: 0 done" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_wrong_environment_ends_with_2_and_a_line_for_each_mistake(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "nowhere",
        "KAFKA_ASSIGNOR": "best",
        "KAFKA_SASL_PASSWORD": "hush",
        "WORKER_MAX_IN_FLIGHT": "many",
        "WEBHOOK_ENDPOINTS": "/missing/endpoints.yaml",
        "WEBHOOK_RETRY_SCHEDULE": "soon",
    }
    assert main([command], environ) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "hush" not in err
    names = {line.split(" ")[0] for line in err.splitlines()}
    assert names == {
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_ASSIGNOR",
        "KAFKA_SASL_PASSWORD",
        "WORKER_MAX_IN_FLIGHT",
        "WEBHOOK_ENDPOINTS",
        "WEBHOOK_RETRY_SCHEDULE",
    }
    assert "'best'" in err
    assert "sticky" in err
    assert "/missing/endpoints.yaml: cannot be read: No such file or directory" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [("endpoints: [", "line 2"), ("- a\n", "endpoints"), ("", "endpoints")],
)
def test_a_file_of_endpoints_that_does_not_parse_ends_run_with_2(
    endpoints: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(text)
    assert main(["run"], LEAST | {"WEBHOOK_ENDPOINTS": str(endpoints)}) == 2
    err = capsys.readouterr().err
    assert err.startswith("WEBHOOK_ENDPOINTS cannot be used: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_check_config_prints_what_is_in_effect_with_secrets_masked(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = LEAST | {
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_PASSWORD": "hush",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_EGRESS_PROXY": "http://hush:hush@10.0.0.1:3128",
        "WEBHOOK_TOPICS": "typo",
    }
    assert main(["check-config"], environ) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "KAFKA_SASL_PASSWORD=******" in lines
    assert "WEBHOOK_EGRESS_PROXY=http://******@10.0.0.1:3128" in lines
    assert "WEBHOOK_RETRY_SCHEDULE=5s,5m,30m,2h,5h,10h,14h,20h,24h" in lines
    assert "WEBHOOK_ATTEMPT_TIMEOUT_SECONDS=15" in lines
    assert "endpoints: 1 enabled, 1 disabled, 0 invalid" in lines
    assert err.startswith("warning: WEBHOOK_TOPICS is not a variable of this program")
    for hidden in ("hush", "whsec", "hidden"):
        assert hidden not in out + err


def test_a_single_wrong_entry_does_not_stop_the_start(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(GOOD + BAD_ENTRY)
    assert main(["check-config"], LEAST | {"WEBHOOK_ENDPOINTS": str(endpoints)}) == 0
    out, err = capsys.readouterr()
    assert "endpoints: 1 enabled, 1 disabled, 1 invalid" in out
    assert "endpoint c, url must begin with https:// or http://" in err


def test_endpoints_check_finds_nothing_in_a_good_file(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["endpoints", "check", str(endpoints)], {}) == 0
    assert capsys.readouterr().out == "1 enabled, 1 disabled, 0 invalid\n"


def test_endpoints_check_names_file_line_and_field(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(GOOD + BAD_ENTRY)
    assert main(["endpoints", "check", str(endpoints)], {}) == 1
    assert capsys.readouterr().out == (
        f"{endpoints}:9: url: must begin with https:// or http://\n"
        "1 enabled, 1 disabled, 1 invalid\n"
    )


def test_check_config_says_which_endpoints_are_not_in_order(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(GOOD.replace("    secrets", "    ordered: true\n    secrets", 1))
    assert main(["check-config"], LEAST | {"WEBHOOK_ENDPOINTS": str(endpoints)}) == 0
    said = "not in order, since WEBHOOK_ORDERED_TOPIC is not set: endpoint a\n"
    assert said in capsys.readouterr().err


def test_endpoints_check_says_which_endpoints_are_not_in_order(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(GOOD.replace("    secrets", "    ordered: true\n    secrets", 1))
    assert main(["endpoints", "check", str(endpoints)], {}) == 0
    said = "not in order, since WEBHOOK_ORDERED_TOPIC is not set: endpoint a\n"
    assert capsys.readouterr().err == said
    assert main(["endpoints", "check", str(endpoints)], {"WEBHOOK_ORDERED_TOPIC": "lines"}) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["endpoints: {", None])
def test_endpoints_check_of_what_cannot_be_read_fails(
    endpoints: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        endpoints.unlink()
    else:
        endpoints.write_text(text)
    assert main(["endpoints", "check", str(endpoints)], {}) == 1
    assert capsys.readouterr().out.startswith(f"{endpoints}:")


@pytest.mark.parametrize("argv", [["topics", "create"], ["send", "--customer", "c", "--type", "t"]])
def test_without_brokers_a_command_fails_with_one_sentence(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, LEAST | {"KAFKA_REQUEST_TIMEOUT_MS": "1000"}) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "127.0.0.1:1" in err
    assert len(err.splitlines()) == 1


def test_data_that_is_no_json_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["send", "--customer", "c", "--type", "t"]
    assert main([*argv, "--data", "{"], LEAST) == 2
    assert capsys.readouterr().err.startswith("webhook-worker send: --data is no JSON")
    assert main([*argv, "--data-file", str(tmp_path / "missing")], LEAST) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "is no JSON: values are nested too deeply"),
        (b'"\xff"', "is not UTF-8"),
        (b"1 2", "is no JSON: something follows the value at character 3"),
        (b"", "is no JSON: Expecting value at character 1"),
    ],
)
def test_a_file_of_data_that_is_no_json_is_refused_with_a_sentence(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.json"
    file.write_bytes(content)
    argv = ["send", "--customer", "c", "--type", "t", "--data-file", str(file)]
    assert main(argv, LEAST) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"webhook-worker send: {file} {said}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--id", "a.b"], "bad_id: id must be a string of 1 to 256 of A-Z a-z 0-9 _ -"),
        (["--type", "a\nb"], "bad_shape: type must be a string of 1 to 256 characters"),
        (["--customer", ""], "bad_shape: customer_id must be a string of 1 to 256 characters"),
        (["--data", '"' + "x" * 999 + '"'], "too_large: 1"),
    ],
)
def test_what_the_worker_would_dead_letter_is_sent_by_force_only(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = LEAST | {"KAFKA_REQUEST_TIMEOUT_MS": "1000", "WEBHOOK_MAX_EVENT_BYTES": "1000"}
    argv = ["send", "--customer", "c", "--type", "t", *arguments]
    assert main(argv, environ) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        f"webhook-worker send: the worker would make this event a dead letter, {said}"
    )
    assert err.endswith("; --force sends it nevertheless\n")
    assert main([*argv, "--force"], environ) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_data_that_is_no_json_can_be_forced_too(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["send", "--customer", "c", "--type", "t", "--data", "{", "--force"]
    assert main(argv, LEAST | {"KAFKA_REQUEST_TIMEOUT_MS": "1000"}) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_path_of_endpoints_with_a_nul_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"], LEAST | {"WEBHOOK_ENDPOINTS": "file:///etc/a%00b.yaml"}) == 2
    err = capsys.readouterr().err
    assert err.startswith("WEBHOOK_ENDPOINTS is ")
    assert len(err.splitlines()) == 1


def test_what_cannot_be_encoded_is_printed_escaped(endpoints: Path) -> None:
    strange = endpoints.with_name("endpoints.json")
    strange.write_text('{"endpoints": [], "\\ud800": 1}')
    command = [sys.executable, "-m", "webhook_worker", "endpoints", "check", str(strange)]
    environ = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(command, capture_output=True, env=environ, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert b":1: \\ud800: is not known" in ended.stdout


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, endpoints: Path) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(check_command, "FileDirectory", interrupted)
    assert main(["endpoints", "check", str(endpoints)], {}) == 130


def test_a_reader_that_goes_away_is_no_traceback(endpoints: Path) -> None:
    endpoints.write_text(GOOD + BAD_ENTRY * 5000)
    command = [sys.executable, "-m", "webhook_worker", "endpoints", "check", str(endpoints)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_an_endpoint_is_tried_through_the_egress_proxy(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = f"http://hush:hush@127.0.0.1:{nobody.getsockname()[1]}"
        environ = {"WEBHOOK_ENDPOINTS": str(endpoints), "WEBHOOK_EGRESS_PROXY": proxy}
        assert main(["endpoints", "test", "a"], LEAST | environ) == 1
    out = capsys.readouterr().out
    assert "a fault on our side" in out
    assert "proxy: the proxy cannot be connected to: Connection refused" in out


def test_a_file_of_endpoints_is_not_written_by_a_command(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = LEAST | {"WEBHOOK_ENDPOINTS": str(endpoints)}
    assert main(["endpoints", "put", str(endpoints)], environ) == 2
    assert main(["endpoints", "delete", "a"], environ) == 2
    assert "endpoints of a topic only can be written" in capsys.readouterr().err


def test_nothing_is_put_of_a_file_in_which_anything_is_wrong(
    endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.write_text(GOOD + BAD_ENTRY + GOOD.partition("\n")[2])
    assert main(["endpoints", "put", str(endpoints)], LEAST | {"WEBHOOK_ENDPOINTS": "kafka:"}) == 1
    out, err = capsys.readouterr()
    assert f"{endpoints}:9: url: " in out
    assert "id: there is one with it before" in out
    assert "nothing was put" in err


def test_what_a_secrets_file_holds_is_put_with_the_entry(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    path = tmp_path / "endpoints.yaml"
    path.write_text(GOOD.replace(f"secrets: [{SECRET}]", "secrets_file: secret", 1))
    entries, mistakes = read_entries(path)
    assert mistakes == []
    assert [read_entry(key, text).id for key, text in entries.items()] == ["a", "b"]
    assert b"secrets_file" not in entries["a"]


def commands_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The code of every command below this one."""
    if (command := parser.get_default("command")) is not None:
        yield command
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands_of(each)


def test_every_command_has_its_code() -> None:
    names = list(commands_of(parser()))
    assert "run.run" in names
    assert all(callable(code_of(name)) for name in names)


def test_a_command_alone_is_what_it_is_among_all() -> None:
    def below(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        (found,) = (a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
        return dict(found)

    for name, among_all in below(parser()).items():
        alone = below(parser(name))
        assert [*alone] == [name]
        assert alone[name].format_help() == among_all.format_help()
        assert [*commands_of(alone[name])] == [*commands_of(among_all)]


def test_a_worker_loads_nothing_that_only_other_commands_need() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from webhook_worker import cli\n"
            "cli.parser()\n"
            "cli.code_of(cli.RUN)\n"
            "print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    others = (
        "httpx",
        "yaml",
        "difflib",
        "importlib.metadata",
        "cryptography",
        "pydantic",
        "kafka_utils.group",
    )
    assert not [name for name in loaded if name.startswith(others)]
    ours = {name for name in loaded if name.startswith("webhook_worker.commands.")}
    assert ours == {
        f"webhook_worker.commands.{name}"
        for name in ("run", "configured_sender", "exit_codes", "loading", "upkeep", "words")
    }
