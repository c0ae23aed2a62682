"""Which hypothesis about an agent explains its play best?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vsg_ppl.errors import GameError
from vsg_ppl.game import Game
from vsg_ppl.infer import infer_opponent
from vsg_ppl.inference import OpponentInference
from vsg_ppl.observations import Observations
from vsg_ppl.table import Table


@dataclass(frozen=True)
class Comparison:
    """Hypotheses about an agent by their evidence; made by `compare_hypotheses`.

    Attributes:
        found: what inference says under each hypothesis, by name.
        log_evidence: log p(play | hypothesis): Laplace's estimate, or the ELBO, a lower bound.
        probabilities: of the hypotheses, if each is equally probable before.
    """

    found: dict[str, OpponentInference]
    log_evidence: dict[str, float]
    probabilities: dict[str, float]

    @property
    def best(self) -> str:
        """The most probable hypothesis."""
        return max(self.log_evidence, key=lambda name: self.log_evidence[name])

    def __repr__(self) -> str:
        ranked = sorted(self.log_evidence, key=lambda name: -self.log_evidence[name])
        rows = ", ".join(f"{name} {self.probabilities[name]:.3g}" for name in ranked)
        return f"Comparison({rows})"


def compare_hypotheses(
    game: Game | Table,
    agent: str | Sequence[str],
    play: Any,
    hypotheses: Mapping[str, Mapping[str, Any]] | None = None,
    **common: Any,
) -> Comparison:
    """Compare hypotheses about what an agent wants, and how well it reasons, by their evidence.

    Args:
        game: a game program or its table.
        agent: whose play it is, a name or several.
        play: as for `infer_opponent`.
        hypotheses: arguments of `infer_opponent` by the hypothesis's name; by default "own" (it
            maximises its own reward), "welfare" (everybody's) and "random" (it acts by its prior).
            A hypothesis may also name another ``game``, with the same states and actions.
        common: arguments of `infer_opponent` for all of them; ``method`` is "laplace" or "svi".

    Raises:
        GameError: no hypotheses, or a method that gives no evidence.

    >>> import vsg_ppl as vsg
    >>> from vsg_ppl.models import PrisonersDilemma
    >>> plays = vsg.nash(PrisonersDilemma(), temperature=1.0).simulate(30)
    >>> compare_hypotheses(PrisonersDilemma(), "col", plays).best
    'own'
    """
    if hypotheses is None:
        hypotheses = {
            "own": {"reward": "program"},
            "welfare": {"reward": "welfare"},
            "random": {"reward": "random", "temperature": 1.0},
        }
    if not hypotheses:
        raise GameError("there are no hypotheses to compare", hint="leave `hypotheses` out.")
    for method in (common.get("method"), *(h.get("method") for h in hypotheses.values())):
        if method in ("map", "nuts"):
            raise GameError(
                f"the method '{method}' gives no evidence", hint="method='laplace' or 'svi'."
            )
    if isinstance(game, Table) and not isinstance(play, Observations):
        play = Observations.of(game, play)
    elif not isinstance(play, Observations) and not hasattr(play, "table"):
        play = list(play)  # trajectories are read once for each hypothesis
    found = {
        name: infer_opponent(
            arguments.get("game", game),
            agent,
            play,
            **{**common, **{key: arguments[key] for key in arguments if key != "game"}},
        )
        for name, arguments in hypotheses.items()
    }
    evidence = {name: one.log_evidence for name, one in found.items()}
    for name, value in evidence.items():
        if value != value:
            raise GameError(
                f"inference gives no evidence of the hypothesis '{name}'",
                hint="method='laplace', or a guide that is no single point.",
            )
    logs = torch.tensor(list(evidence.values()), dtype=torch.float64)
    return Comparison(found, evidence, dict(zip(found, logs.softmax(0).tolist(), strict=True)))
