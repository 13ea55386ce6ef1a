"""Writes the architecture page: every module with the first sentence of its docstring.

``python -m tests.harness.module_map`` writes it anew.
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("webhook-worker", "app-worker", "kafka-utils")
ROOMS = ("deploy", "benchmarks")
HEAD = """\
# Every module and its sentence

Three packages, each of which imports only those below it; within each, `pyproject.toml` says who
may import whom, and `make lint` holds it. Modules stand in that order: whoever reads from the top
begins with what puts everything together, and ends with words and values. A module does what its
sentence says and nothing else; `python -m tests.harness.module_map` makes this page.

The way of a record: `app_worker.controller` fetches it, `admission` says whether there is room,
`starter` gives it to the handler, `webhook_worker.delivery`, whose outcomes go to `parking` if they
must be stored, then to `offset_tracker` and `commits`. Who owns which partition is decided in
`kafka_utils.coordinator`.
"""


def page() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for package in PACKAGES:
        source = ROOT / "packages" / package / "src" / package.replace("-", "_")
        parts.append(f"\n## {package}\n\n{_table(source, source.parent)}")
    for room in ROOMS:
        parts.append(f"\n## {room}/\n\n{_table(ROOT / room, ROOT)}")
    return "".join(parts)


def _table(folder: Path, base: Path) -> str:
    lines = ["| module | |\n|---|---|\n"]
    for file in sorted(folder.rglob("*.py"), key=lambda each: _place(each.relative_to(base))):
        said = sentence(file)
        if said:
            link = file.relative_to(ROOT)
            lines.append(f"| [`{file.relative_to(base)}`](../{link}) | {said} |\n")
    return "".join(lines)


def _place(file: Path) -> tuple[tuple[int, str], ...]:
    """Where it stands: of each of its folders and of itself, the layer and the name."""
    names = [*file.parts[:-1], file.stem]
    return tuple(
        (-1 if name == "__init__" else _layers().get(".".join(names[:end]), 0), name)
        for end, name in enumerate(names, start=1)
    )


@cache
def _layers() -> dict[str, int]:
    """By the full name of a module or folder, its layer from the top."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {
        f"{container}.{name.strip()}": layer
        for contract in told["contracts"]
        for container in contract.get("containers", ())
        for layer, names in enumerate(contract["layers"])
        for name in names.split("|")
    }


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring; empty if it has none."""
    said = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(said.split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph)[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
