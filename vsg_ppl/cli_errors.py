"""The command line when something goes wrong: one sentence on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import NoReturn

import typer

from vsg_ppl.cli_options import advice
from vsg_ppl.errors import GameError, MissingExtra

STOPPED, FAULT = 130, 3  # exit codes


@contextmanager
def aside(wanted: bool) -> Iterator[None]:
    """Send what a game prints to standard error, so that standard output is the answer alone."""
    with redirect_stdout(sys.stderr) if wanted else nullcontext():
        yield


@contextmanager
def careful(spec: str = "") -> Iterator[None]:
    """Turn every exception into a sentence on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise  # rich leaves so when the reader of standard output has gone
        _fail("the game's program ends the process (SystemExit)")
    except KeyboardInterrupt:
        _fail("stopped before there was a result", code=STOPPED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # the reader of standard output has gone
        _explain(error, spec)


def _explain(error: Exception, spec: str) -> NoReturn:
    """The sentence, with the line of the game's file if the error comes from there."""
    from vsg_ppl.loading import game_file, line_at_fault, with_line

    path = game_file(spec)
    if path is not None and line_at_fault(error, path) is not None:
        error = with_line(error, path)
    if isinstance(error, GameError):
        text = str(error)
        _fail(text.removesuffix(f" Try: {error.hint}") if error.hint else text, error.hint)
    if isinstance(error, MissingExtra):
        _fail(str(error))
    if isinstance(error, OSError) and error.strerror:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        _fail("there is not enough memory for this game", "fewer states or actions.")
    if os.environ.get("VSG_TRACEBACK"):
        raise error
    text = str(error).strip().partition("\n")[0]
    _fail(
        f"vsg has a fault: {type(error).__name__}: {text}",
        "VSG_TRACEBACK=1 to see where, and please report it.",
        code=FAULT,
    )


def _fail(message: str, hint: str | None = None, code: int = 2) -> NoReturn:
    typer.echo("Error: " + " ".join(message.splitlines()), err=True)
    if hint:
        typer.echo("Try: " + " ".join(advice(hint).splitlines()), err=True)
    raise typer.Exit(code) from None
