import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vsg_ppl

ROOT = Path(__file__).resolve().parent.parent
LINKED = ["guides", "models"]


def test_every_name_in_all_resolves():
    missing = [name for name in vsg_ppl.__all__ if not hasattr(vsg_ppl, name)]
    assert missing == []
    assert len(set(vsg_ppl.__all__)) == len(vsg_ppl.__all__)


@pytest.mark.parametrize("name", LINKED)
def test_top_level_folder_is_a_package_of_the_library(name):
    package = importlib.import_module(f"vsg_ppl.{name}")
    assert package.__file__ is not None
    assert Path(package.__file__).resolve() == ROOT / name / "__init__.py"
    assert (ROOT / "vsg_ppl" / name).readlink() == Path("..", name)


@pytest.mark.parametrize("name", LINKED)
def test_bare_import_is_refused(name):
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    last_line = run.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert f"vsg_ppl.{name}" in last_line


def test_every_package_is_installed():
    """A package that ``packages`` of pyproject.toml leaves out would be missing from the wheel."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = set()
    for top, prefix in [("vsg_ppl", ""), ("guides", "vsg_ppl."), ("models", "vsg_ppl.")]:
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            if parts[:2] not in {("vsg_ppl", name) for name in LINKED}:  # seen under its own name
                found.add(prefix + ".".join(parts))
    assert found == set(setuptools["packages"])


def test_types_are_announced():
    assert (ROOT / "vsg_ppl" / "py.typed").is_file()
