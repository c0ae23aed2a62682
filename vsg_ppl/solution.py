"""What a solver gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vsg_ppl.certificate import Certificate
from vsg_ppl.correlated_certificate import CorrelatedCertificate
from vsg_ppl.errors import GameError
from vsg_ppl.mean_field_certificate import MeanFieldCertificate
from vsg_ppl.signal_table import signal_rows
from vsg_ppl.structure import to_json
from vsg_ppl.table import Table
from vsg_ppl.vpg import soft_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vsg_ppl.guides.policy import FixedPolicy
    from vsg_ppl.simulate import Plays


@dataclass(frozen=True, eq=False)
class Solution:
    """Policies with a certificate.

    Attributes:
        game: the game program; ``None`` when only a table was given, or after `load` without one.
        table: the game's table.
        concept: of equilibrium, ``"nash"``, ``"correlated"`` or ``"mean_field"``.
        policies: what each agent executes, (S, A), or (H, S, A) with a horizon; a leading (B,) for
            a batch of games. Rows follow ``table.states``, columns ``table.actions``.
        values: each agent's expected return by state, (S,) or (H, S), without entropy.
        certificate: exact gaps of ``policies``.
        temperature: τ of these policies.
        factorisation: "marginal" or "conditional".
        iterations: taken.
        seconds: taken, by the wall clock.
        status: "solved", "not converged" or "interrupted".
        message: the status in a sentence, with what to do next.
        history: for each iteration: iteration, temperature, residual, elbo of each agent, and
            nash_gap where it was computed.
        answers: conditional policies π^i(a^i | s, a^{-i}), (..., S, A_1, ..., A_N), if that was the
            factorisation.
        crowd: L(s, a) of a mean-field game, (H, S, A) or (S, A). Its table is that of one agent
            amid this crowd.
        signal: σ(ω|s) of a correlated equilibrium, (S, Ω) or (H, S, Ω) over the states without the
            public signal; ``table.states`` are these with a value of the signal, which counts
            fastest.
    """

    game: Any
    table: Table
    concept: str
    policies: dict[str, Tensor]
    values: dict[str, Tensor]
    certificate: Certificate | CorrelatedCertificate | MeanFieldCertificate
    temperature: float
    factorisation: str
    iterations: int
    seconds: float
    status: str
    message: str
    history: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Tensor] = field(default_factory=dict)
    crowd: Tensor | None = None
    signal: Tensor | None = None

    def __repr__(self) -> str:
        return (
            f"Solution({self.table.name}: {self.concept}, {self.status}; {self.message}; "
            f"agents {', '.join(self.table.agents)}; {len(self.table.states)} states)"
        )

    @property
    def solved(self) -> bool:
        """Whether the solver reached what was asked."""
        return self.status == "solved"

    @property
    def shares(self) -> Tensor:
        """The share of a mean-field game's crowd in each state, (S,) or (H, S).

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import LeftRight
        >>> vsg.mean_field_nash(LeftRight()).shares[1]
        tensor([0.0000, 0.6667, 0.3333], dtype=torch.float64)
        """
        if self.crowd is None:
            raise GameError(f"{self.table.name} has no crowd: it is no mean-field game")
        return self.crowd.sum(-1)

    @property
    def joint(self) -> Tensor:
        """What is played, Σ_ω σ(ω|s) Π_i π^i(a^i|s, ω) (§5.3): (S, A_1, ..., A_N), or (H, S, ...).

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import BattleOfTheSexes
        >>> vsg.correlated(BattleOfTheSexes(), signals=2).joint[0, 0]
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]], dtype=torch.float64)
        """
        self._alone("a law of joint actions")
        n = len(self.table.agents)
        wide = []
        for i, policy in enumerate(self.policies.values()):
            shape = [-1 if k == i else 1 for k in range(n)]
            wide.append(policy.reshape(*policy.shape[:-1], *shape))
        joint: Tensor = prod(wide[1:], start=wide[0])
        if self.signal is None:
            return joint
        first = self.signal.ndim - 2
        by_signal = joint.unflatten(first, self.signal.shape[-2:])
        law = self.signal.reshape(*self.signal.shape, *[1] * n)
        mixed: Tensor = (by_signal * law).sum(first + 1)
        return mixed

    def guide(self, agent: str) -> FixedPolicy:
        """The agent's policy as a Pyro program, to use in models and guides.

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import PrisonersDilemma
        >>> game = PrisonersDilemma()
        >>> solution = vsg.nash(game, temperature=1.0)
        >>> model = vsg.agent_model(game, "row", {"col": solution.guide("col")})
        """
        from vsg_ppl.guides.policy import FixedPolicy

        self._alone("a guide")
        self.table.number(agent)
        return FixedPolicy(self.table, agent, self.policies[agent])

    def policy(self, agent: str, state: Any, t: int = 0) -> dict[str, float]:
        """Probabilities of an agent's actions by name, in a state given by its label.

        >>> import vsg_ppl as vsg
        >>> from vsg_ppl.models import PrisonersDilemma
        >>> solution = vsg.nash(PrisonersDilemma())
        >>> solution.policy("row", 0)["DEFECT"] > 0.99
        True
        """
        self._alone("a policy by label")
        names = self.table.actions[self.table.number(agent)].names()
        rows, horizon = self.policies[agent], self.table.horizon
        if horizon is not None:
            if not 0 <= t < horizon:
                raise GameError(f"the time is {t}, and {self.table.name} has times below {horizon}")
            rows = rows[t]
        row = rows[int(self.table.states.index(state))]
        return dict(zip(names, row.tolist(), strict=True))

    def simulate(self, n: int = 1, *, steps: int | None = None, seed: int = 0) -> Plays:
        """n plays of the game by these policies; see `vsg_ppl.simulate.simulate`."""
        from vsg_ppl.simulate import simulate

        self._alone("a simulation")
        return simulate(self.table, self.policies, n, steps=steps, seed=seed)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Pictures of the policies and of how they were found; written to ``path`` if given."""
        from vsg_ppl.plot import plot_solution

        return plot_solution(self, path)

    def save(self, path: str | Path) -> Path:
        """Write everything but the program to one safetensors file; see `vsg_ppl.storage.save`."""
        from vsg_ppl.storage import save

        return save(self, path)

    @staticmethod
    def load(path: str | Path, game: Any = None) -> Solution:
        """Read what `save` wrote, if of the ``game`` given; see `vsg_ppl.storage.load`."""
        from vsg_ppl.storage import load

        return load(path, game)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the history, in plain JSON values.

        The policies are lists of rows: the state, the time if there is a horizon, in a mean-field
        game the share of the crowd that is there then, and the probabilities of the actions.
        """
        self._alone("a JSON object")
        return {
            "game": self.table.name,
            "concept": self.concept,
            "agents": list(self.table.agents),
            "actions": {
                agent: actions.names()
                for agent, actions in zip(self.table.agents, self.table.actions, strict=True)
            },
            "temperature": self.temperature,
            "factorisation": self.factorisation,
            "iterations": self.iterations,
            "seconds": self.seconds,
            "status": self.status,
            "message": self.message,
            "certificate": self.certificate.to_dict(),
            **({} if self.signal is None else {"signal": signal_rows(self.table)}),
            "policies": {agent: self._rows(agent) for agent in self.table.agents},
        }

    def _rows(self, agent: str) -> list[dict[str, Any]]:
        labels = [to_json(label) for label in self.table.states]
        horizon, seen = self.table.horizon, self.table.reachable
        policy = self.policies[agent] if horizon is not None else self.policies[agent][None]
        shares = self.shares.reshape(policy.shape[:2]).tolist() if self.crowd is not None else None
        rows = []
        for t, now in enumerate(policy.tolist()):
            for k, (label, probabilities) in enumerate(zip(labels, now, strict=True)):
                if seen is None or bool(seen[t, k]):
                    row: dict[str, Any] = {"state": label}
                    row |= {} if horizon is None else {"t": t}
                    row |= {} if shares is None else {"share": shares[t][k]}
                    rows.append(row | {"probabilities": probabilities})
        return rows

    def _alone(self, what: str) -> None:
        if self.table.batched:
            raise GameError(f"{what} is of one game, and this solution holds {self.table.batch}")


def shown(table: Table, x: Tensor) -> Tensor:
    """A tensor (B, H, S, ...) without the batch and time dimensions that the game does not have."""
    x = x if table.horizon is not None else x[:, 0]
    return x if table.batched else x[0]


def solution_of(
    game: Any, table: Table, logs: list[Tensor], *, concept: str = "nash", **found: Any
) -> Solution:
    """The solution in which the agents play log policies (B, H, S, A_i), in the table's order.

    Args:
        game: what the solver was given, a program or the table itself.
        table: the game's table.
        logs: log π of every agent.
        concept: of equilibrium.
        found: the solution's other attributes.
    """
    values = soft_values(table, logs, 1.0, "none")
    named = list(enumerate(table.agents))
    return Solution(
        game=None if isinstance(game, Table) else game,
        table=table,
        concept=concept,
        policies={agent: shown(table, logs[i].exp()) for i, agent in named},
        values={agent: shown(table, values[..., i]) for i, agent in named},
        **found,
    )
