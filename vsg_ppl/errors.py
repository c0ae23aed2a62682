"""The one exception that bad games, policies and files raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class GameError(ValueError):
    """A game, a policy or a file is not what it should be.

    The text names the site, says what was expected and what was found, and ends with what to try.

    Args:
        message: what is wrong, in one sentence.
        site: the sample site at fault, if one is.
        hint: what to try.

    >>> print(GameError("probabilities sum to 0.9, not 1", site="weather", hint="normalise them."))
    at site 'weather': probabilities sum to 0.9, not 1. Try: normalise them.
    """

    def __init__(self, message: str, *, site: str | None = None, hint: str | None = None) -> None:
        where = f"at site '{site}': " if site is not None else ""
        what = f"{message.rstrip('.')}." if hint else message
        super().__init__(f"{where}{what} Try: {hint}" if hint else f"{where}{what}")
        self.site = site
        self.hint = hint


class MissingExtra(ImportError):
    """An optional dependency is not installed.

    >>> print(MissingExtra("pygambit", extra="interop"))
    this needs pygambit, which is not installed: pip install 'vsg_ppl[interop]'
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed: pip install 'vsg_ppl[{extra}]'"
            if " " not in package
            else package
        )


@contextmanager
def telling(program: str) -> Iterator[None]:
    """Turn what a user's program raises into one sentence that says where.

    >>> with telling("`step` of Tag"):
    ...     {}["weather"]
    Traceback (most recent call last):
    ...
    vsg_ppl.errors.GameError: `step` of Tag raises KeyError: 'weather'
    """
    try:
        yield
    except GameError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or ["without a message"]
        text = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
        hint = None
        if "ambiguous" in text or "converted to" in text:
            hint = (
                "indexing a tensor, or torch.where: the program runs over all states and actions "
                "at once, so it cannot branch (`if`) on one of them or make it a Python number."
            )
        elif "must match the size" in text or "shape mismatch" in text:
            hint = (
                "the program runs over all states and actions at once, and each has a dimension of "
                "its own: write `(state == 0)[..., None]` where it chooses among vectors."
            )
        raise GameError(f"{program} raises {type(error).__name__}: {text}", hint=hint) from error
