"""The audit of the paper as a table: ``python -m tests.claims`` prints it.

Every row is a function of the modules below; `tests/test_claims.py` has a test of its name, which
asserts what the row says. Seeds are fixed, and numbers are shown to two digits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests import claims_elbo, claims_models, claims_others, claims_potential, claims_steps
from tests.claims_games import Finding

MODULES = (claims_elbo, claims_steps, claims_potential, claims_models, claims_others)
FINDINGS: list[Callable[[], Finding]] = [
    finding for module in MODULES for finding in module.FINDINGS
]
HEAD = ["| claim | verdict | evidence | command |", "|---|---|---|---|"]


def cell(text: str) -> str:
    """Text as a table of Markdown shows it."""
    for mark in "\\|*_":
        text = text.replace(mark, f"\\{mark}")
    return text


def row(finding: Callable[[], Finding]) -> str:
    found = finding()
    command = f"`pytest tests/test_claims.py::test_{finding.__name__}`"
    return f"| {cell(found.claim)} | {cell(found.verdict)} | {cell(found.evidence)} | {command} |"


def table() -> str:
    """All rows, in the order of the paper."""
    return "\n".join([*HEAD, *(row(finding) for finding in FINDINGS)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())
