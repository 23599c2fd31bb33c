"""What is on disk is what is installed: the package list, the data files, the wheel."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("emoclip_clinical", "cli", "protocols")
NOT_DATA = {".py", ".pyc"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages_on_disk() -> dict[str, Path]:
    found = {}
    for folder in SOURCE_FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            name = ".".join(init.parent.relative_to(ROOT).parts)
            inside = name.split(".")[0] == "emoclip_clinical"
            found[name if inside else f"emoclip_clinical.{name}"] = init.parent
    return found


def data_files_on_disk() -> set[Path]:
    return {
        path
        for folder in SOURCE_FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in NOT_DATA and "__pycache__" not in path.parts
    }


def test_every_package_on_disk_is_listed_and_the_reverse(pyproject: dict[str, Any]) -> None:
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())


def test_every_module_lies_in_a_package() -> None:
    homeless = [
        str(path.relative_to(ROOT))
        for folder in SOURCE_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert homeless == []


def test_package_data_globs_name_every_data_file(pyproject: dict[str, Any]) -> None:
    folders = packages_on_disk()
    globs: dict[str, list[str]] = pyproject["tool"]["setuptools"]["package-data"]
    named = {
        path for name, patterns in globs.items() for g in patterns for path in folders[name].glob(g)
    }
    assert {str(p.relative_to(ROOT)) for p in data_files_on_disk() - named} == set()


def test_package_data_globs_all_match(pyproject: dict[str, Any]) -> None:
    folders = packages_on_disk()
    globs: dict[str, list[str]] = pyproject["tool"]["setuptools"]["package-data"]
    assert [(n, g) for n, gs in globs.items() for g in gs if not any(folders[n].glob(g))] == []


def test_the_version_is_the_same_everywhere(pyproject: dict[str, Any]) -> None:
    import emoclip_clinical

    version = pyproject["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert emoclip_clinical.__version__ == version
    assert f"version: {version}" in citation


def test_dependencies_have_lower_bounds_only(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert [line for line in wanted if ">=" not in line or "<" in line or "==" in line] == []


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that a build folder left in the tree can not hide a missing file."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for folder in SOURCE_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = source / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    folders = packages_on_disk()
    expected = {
        f"{name.replace('.', '/')}/{path.name}"
        for name, folder in folders.items()
        for path in folder.glob("*.py")
    }
    for path in data_files_on_disk():
        relative = path.relative_to(ROOT)
        inside = relative.parts[0] == "emoclip_clinical"
        expected.add(relative.as_posix() if inside else f"emoclip_clinical/{relative.as_posix()}")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.slow
def test_the_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    site = Path(
        run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
        ).strip()
    )
    # The dependencies are those of this test's own environment: lines of a .pth add folders to
    # the path but run no .pth there, so an editable install of this project is not seen.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(python, "-c", "import emoclip_clinical.cli as c; print(c.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(site)
    by_script = run(environment / "bin" / "emoclip-clinical", "--help", cwd=elsewhere)
    by_module = run(python, "-m", "emoclip_clinical", "--help", cwd=elsewhere)
    for command in ("train", "extract", "regress"):
        assert command in by_script
        assert command in by_module
    top_level = {path.name for path in site.iterdir()}
    assert not top_level & {"cli", "protocols", "tests", "benchmarks"}
