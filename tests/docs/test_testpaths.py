"""No folder of tests is forgotten by `make test`."""

import tomllib

from tests.harness.module_map import ROOT


def test_every_folder_with_tests_is_among_those_that_are_run() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = {ROOT / path for path in settings["tool"]["pytest"]["ini_options"]["testpaths"]}
    files = [
        file
        for folder in (ROOT / "tests", ROOT / "packages")
        for file in folder.rglob("test_*.py")
        if ".venv" not in file.parts
    ]
    assert files
    assert [file for file in files if not run.intersection(file.parents)] == []
