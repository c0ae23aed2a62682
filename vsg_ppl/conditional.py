"""The paper's own factorisation: answers π(a^i | s, a^{-i}) to an imagined ρ(a^{-i} | s)."""

from __future__ import annotations

import torch
from torch import Tensor

from vsg_ppl.bellman import contract, divergence, evaluate, following
from vsg_ppl.table import Table
from vsg_ppl.vpg import Entropy


class Conditional:
    """Algorithm 1 with conditional policies and opponent models refitted to what is executed.

    Agent i executes e^i(a^i|s) = Σ ρ(a^{-i}|s) π^i(a^i|s, a^{-i}); its model ρ of the others moves
    halfway to what they execute, because the whole way may alternate for ever. At low temperatures
    answers that copy each other change so slowly that the residual is small far from a fixed point:
    read the certificate, which is exact, rather than the status.

    Args:
        table: the game.
        entropy: as in `nash`.
    """

    def __init__(self, table: Table, entropy: Entropy) -> None:
        self.table, self.entropy = table, entropy
        n, times = len(table.agents), table.horizon or 1
        shape = (table.batch, times, len(table.states), *table.sizes)
        self.priors = [
            prior.reshape(*prior.shape[:3], *[1] * i, -1, *[1] * (n - 1 - i))
            for i, prior in enumerate(table.log_priors)
        ]
        self.logs = [prior.expand(shape).clone() for prior in self.priors]
        self.executed = [
            prior.exp().expand(table.batch, times, *prior.shape[2:]) for prior in table.log_priors
        ]

    def policies(self) -> list[Tensor]:
        """π^i(a^i | s, a^{-i}) for every agent, (B, H, S, A_1, ..., A_N)."""
        return [log.exp() for log in self.logs]

    def executed_logs(self) -> list[Tensor]:
        """log e^i for every agent, (B, H, S, A_i)."""
        return [executed.log() for executed in self.executed]

    def iterate(self, temperature: float, weight: float) -> tuple[Tensor, Tensor]:
        """One round of Algorithm 1; values V^i before it, (B, H, S, N), and the residual, (B,)."""
        values, off, moved, played = [], [], [], []
        for i in range(len(self.table.agents)):
            law = list(self.executed)
            law[i] = self.logs[i].exp()
            value = self._value(i, law, temperature)
            values.append(value)
            scores = self.priors[i] + self._q(i, value) / temperature
            mixed = (1 - weight) * torch.where(scores > -torch.inf, self.logs[i], 0.0)
            moved.append((mixed + weight * scores).log_softmax(3 + i))
            played.append(contract(moved[i].exp(), self.executed, keep=i))
            answer = (scores.softmax(3 + i) - self.logs[i].exp()).abs().flatten(1).amax(1)
            shift = (played[i] - self.executed[i]).abs().flatten(1).amax(1)
            off.append(torch.maximum(answer, shift))
        self.logs = moved
        self.executed = [0.5 * (old + new) for old, new in zip(self.executed, played, strict=True)]
        return torch.stack(values, -1), torch.stack(off).amax(0)

    def _value(self, i: int, law: list[Tensor], temperature: float) -> Tensor:
        """V^i under what agent i imagines, (B, H, S)."""
        reward = contract(self.table.rewards[i], law)
        if self.entropy != "none":
            own = 3 + i
            cost = divergence(
                law[i].movedim(own, -1),
                self.logs[i].movedim(own, -1),
                self.priors[i].movedim(own, -1),
            )
            reward = reward - temperature * contract(cost.unsqueeze(own), law)
        if self.entropy == "joint":
            for j, prior in enumerate(self.table.log_priors):
                if j != i:
                    reward = reward - temperature * divergence(law[j], law[j].log(), prior)
        return evaluate(self.table, law, reward[..., None])[..., 0]

    def _q(self, i: int, value: Tensor) -> Tensor:
        """Q^i(s, a) without the term log π^{-i}, which is constant in a^i."""
        reward = self.table.rewards[i]
        if self.table.horizon is None:
            return (
                reward + self.table.discount * following(self.table, value[:, 0, :, None])[..., 0]
            )
        steps = []
        for t in range(self.table.horizon):
            q = reward[:, [t if reward.shape[1] > 1 else 0]]
            if t + 1 < self.table.horizon:
                ahead = following(self.table, value[:, t + 1, :, None], t)[..., 0]
                q = q + self.table.discount * ahead
            steps.append(q.expand(self.table.batch, 1, len(self.table.states), *self.table.sizes))
        return torch.cat(steps, 1)
