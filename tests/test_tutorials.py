"""What people are told: tutorials run, and so do the blocks of README.md and docs/*.md."""

import ast
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vsg_ppl.sweep import Sweep

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = [
    "01_acting_as_inferring",
    "02_your_first_game",
    "03_conditional_and_marginal",
    "04_crowds",
    "05_what_do_the_others_want",
    "06_signals",
    "07_the_audit",
    "08_learning",
]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "tutorials/README.md", *(ROOT / "docs").glob("*.md")]
)
SMALL = "60"  # steps, instead of a thousand


# --- Tutorials ------------------------------------------------------------------------------------


def cells(name):
    """The cells of a tutorial in percent format: (whether it is text, its source)."""
    source = (ROOT / "tutorials" / f"{name}.py").read_text(encoding="utf-8")
    head, *parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    assert head == "", "a tutorial starts with a cell"
    return [
        (kind.strip() == "[markdown]", body)
        for kind, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def test_every_tutorial_is_covered():
    there = {path.stem for path in (ROOT / "tutorials").glob("**/*.py")}
    assert there == set(TUTORIALS)
    page = (ROOT / "tutorials/README.md").read_text(encoding="utf-8")
    assert [name for name in TUTORIALS if f"({name}.py)" not in page] == []


@pytest.mark.parametrize("name", TUTORIALS)
def test_cells_stand_alone(name):
    """As a notebook: text cells hold comments alone, and code cells are whole programs."""
    found = cells(name)
    assert found[0][0] and found[-1][0], "a tutorial begins and ends with text"
    for is_text, body in found:
        if is_text:
            assert all(line.startswith("#") for line in body.strip().splitlines())
        else:
            assert ast.parse(body).body


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial_runs(name, tmp_path):
    """In a process of its own, small; its own assertions hold, and it leaves no files behind."""
    path = ROOT / "tutorials" / f"{name}.py"
    statements = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert sum(isinstance(statement, ast.Assert) for statement in statements) >= 5
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "PYTHONOPTIMIZE")}
    run = subprocess.run(
        # plt.show() without a screen warns on some systems
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg", str(path)],
        cwd=tmp_path,
        env=environment | {"TUTORIAL_STEPS": SMALL, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert list(tmp_path.iterdir()) == []


# --- Pages ----------------------------------------------------------------------------------------

FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TOLD_ONCE = re.compile(r"\d+ iterations, [\d.]+ s")


def blocks(page):
    """The fenced blocks of a page: (language, title, text)."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(FENCE.findall(text)), "a fence without a language"
    return FENCE.findall(text)


def same(shown, found):
    """Whether a page shows what is printed, up to spaces, times and the last digits of numbers."""
    shown, found = (" ".join(TOLD_ONCE.sub("", text).split()) for text in (shown, found))
    if NUMBER.sub("#", shown) != NUMBER.sub("#", found):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(found), strict=True)
    return all(
        float(one) == pytest.approx(float(other), rel=0.02, abs=1e-3) for one, other in pairs
    )


def run_vsg(command):
    """What a ``vsg`` command prints, both streams."""
    from vsg_ppl.cli import app

    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code in (0, 1), result.output
    return result.output


def run_console(text):
    """Run the ``vsg`` commands of a block; others are known commands, with nothing shown."""
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        program, *rest = shlex.split(command)
        if program == "vsg":
            found = run_vsg(command)
            assert not shown or same(shown, found), f"{command} prints\n{found}"
        elif program == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{rest[0]}:.*##", makefile, re.MULTILINE), f"no target {rest[0]}"
        else:
            assert program in ("pip", "python", "jupyter", "jupytext"), program
            assert not shown


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, monkeypatch):
    """Python blocks share their names; a ``text`` block after one shows what it prints.

    A ``toml`` block is a sweep.
    """
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    printed = None
    for language, title, text in blocks(page):
        if language == "python":
            if title:
                Path(title).write_text(text, encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, f"{page}: {title or 'block'}", "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            assert same(text, printed), f"{page} shows\n{text}\nbut this is printed:\n{printed}"
        elif language == "toml":
            Path(title).write_text(text, encoding="utf-8")
            assert Sweep.read(title).runs()
        else:
            assert language == "console"
            run_console(text)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if ":" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_readme_game_is_short():
    [game] = [text for _, title, text in blocks("README.md") if title == "price_war.py"]
    assert len([line for line in game.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize(
    ("shown", "found", "expected"),
    [
        ("gap 0.250,\n12 iterations, 0.3 s", "gap  0.2501, 7 iterations, 9.1 s", True),
        ("gap 2.48e-06", "gap 3e-9", True),
        ("gap 0.25", "gap 0.35", False),
        ("gap 0.25", "Gap 0.25", False),
        ("1 2", "1 2 3", False),
    ],
)
def test_comparison_of_outputs(shown, found, expected):
    assert same(shown, found) == expected


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_cited_exist(page):
    cited = re.findall(r"`(tests/\S+\.py)::(\w+)`", (ROOT / page).read_text(encoding="utf-8"))
    for path, name in cited:
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"
    assert cited or page != "docs/audit.md"


def test_architecture_names_every_file_of_the_library():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    library = ROOT / "vsg_ppl"
    files = [
        str(path.relative_to(library))
        for path in sorted([*library.glob("*.py"), *library.glob("handlers/*.py")])
        if path.name != "__init__.py"
    ]
    assert [name for name in files if f"`{name}`" not in text] == []
