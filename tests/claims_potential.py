"""Section 5.1.1: Markov potential games, Prop. 5.6, Lemma 5.7 and Theorem 5.8."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import log

import torch

from tests.claims_elbo import executed_gap, team_fixed_point
from tests.claims_games import (
    COUNT,
    Finding,
    Games,
    action_values,
    average,
    nash_gap,
    one_shot,
    planted,
    random_games,
    random_logits,
    random_policies,
    share,
    tensor,
    two,
    values,
    visits,
)
from tests.claims_steps import whole_step
from vsg_ppl.theory import smoothness


def potential_games(seed, sizes=(2, 3), states=2, discount=0.8, moved=True, size=1.0, count=COUNT):
    """Games with potential E Σ γ^t φ, and φ: teams, or states that actions leave alone.

    In the latter every agent's reward has a term of its own that the others alone decide.
    """
    games = random_games((seed, 1), sizes, states, discount, team=True, count=count)
    phi = games.rewards[:, 0]
    rewards, chances = games.rewards.clone(), games.chances
    if not moved:
        law = random_logits((seed, 2), count, states, states).softmax(-1)
        chances = law.reshape(count, states, *[1] * len(sizes), states).expand_as(chances)
        for i in range(len(sizes)):
            shape = [1 if j == i else k for j, k in enumerate(sizes)]
            rewards[:, i] += random_logits((seed, 3, i), count, states, *shape, scale=1.0)
    scale = size / rewards.flatten(1).abs().amax(1)
    rewards = rewards * scale.reshape(-1, *[1] * (rewards.ndim - 1))
    return Games(rewards, chances, discount), phi * scale.reshape(-1, *[1] * (phi.ndim - 1))


def four_cycle(games, one, other, pays):
    """What deviators gain around π → (π1', π2) → π' → (π1, π2') → π, from each state: (B, S)."""
    corners = [[one[0], one[1]], [other[0], one[1]], other, [one[0], other[1]]]
    v = [values(games, corner, pays) for corner in corners]
    return (v[1] - v[0])[:, 0] + (v[2] - v[1])[:, 1] + (v[3] - v[2])[:, 0] + (v[0] - v[3])[:, 1]


@cache
def definition_5_4() -> Finding:
    games = random_games(29, (2, 2), 2, 0.8, team=True)
    one, other = random_policies((29, 1), games), random_policies((29, 2), games)
    cycles = {
        pays: four_cycle(games, one, other, pays).abs().amax(1) for pays in ("own", "joint", "none")
    }
    still, _ = potential_games((29, 3), (2, 2), moved=False)
    unmoved = four_cycle(still, one, other, "own").abs().amax(1)
    example, plays = rewardless()
    cycle = four_cycle(example, *plays, "own")[0, 0]
    return Finding(
        "Def. 5.4: team games are Markov potential games for the V of Def. 5.1",
        "fails",
        f"V pays i its own entropy alone: deviators' gains around four policies do not cancel in "
        f"{share(cycles['own'] > 1e-6)} team games (up to {two(cycles['own'].max())}), nor in a "
        f"game without rewards: {two(cycle.abs())} = log(2) / 2. They cancel with the joint "
        "entropy, with none, or where actions do not move the state",
        {
            "own": int((cycles["own"] > 1e-6).sum()),
            "rest": max(float(x.max()) for x in (cycles["joint"], cycles["none"], unmoved)),
            "example": float(cycle.abs()),
        },
    )


def rewardless():
    """No rewards, two steps: agent 1 opens one of two doors, and agent 2 acts behind it.

    Two policies of each: agent 1 takes either door evenly, or the first; agent 2 plays evenly
    behind the second, or never does.
    """
    chances = torch.zeros(1, 3, 2, 2, 3, dtype=torch.float64)
    chances[0, 0, 0, :, 1] = chances[0, 0, 1, :, 2] = 1
    games = Games(torch.zeros(1, 2, 3, 2, 2, dtype=torch.float64), chances, 1.0)
    first, even = [1.0, 0.0], [0.5, 0.5]
    one = [tensor([[first, first, first]]), tensor([[first, first, first]])]
    other = [tensor([[even, first, first]]), tensor([[first, first, even]])]
    return games, (one, other)


def shared_gradients(games, phi, pays, logits):
    """∇_{θ_i} V^i, and ∇_{θ_i} of Φ + τ H, both summed over starts, for every agent."""
    logits = [logit.clone().requires_grad_() for logit in logits]
    policies = [logit.softmax(-1) for logit in logits]
    own = values(games, policies, pays)
    team = Games(torch.stack([phi] * games.agents, 1), games.chances, games.discount)
    shared = values(team, policies, "joint")[:, 0]
    theirs = torch.autograd.grad(shared.sum(), logits, retain_graph=True)
    ours = [
        torch.autograd.grad(own[:, i].sum(), logits[i], retain_graph=True)[0]
        for i in range(games.agents)
    ]
    return ours, theirs


def gradient_gap(games, phi, pays, seed):
    """max |∇V^i − ∇Φ| relative to the largest |∇Φ|, by game."""
    logits = [p.log() for p in random_policies(seed, games)]
    ours, theirs = shared_gradients(games, phi, pays, logits)
    off = torch.stack([(a - b).abs().amax((1, 2)) for a, b in zip(ours, theirs, strict=True)])
    size = torch.stack([b.abs().amax((1, 2)) for b in theirs])
    return off.amax(0) / size.amax(0)


@cache
def proposition_5_6_gradient() -> Finding:
    moved, still = potential_games(30), potential_games(31, moved=False)
    own = gradient_gap(*moved, "own", 30)
    rest = max(
        float(gradient_gap(*moved, "joint", 30).max()),
        float(gradient_gap(*still, "own", 31).max()),
    )
    return Finding(
        "Prop. 5.6: the gradient of V^i is that of the potential with entropy",
        "holds with the joint entropy",
        f"or where actions do not move the state (1e-10); with its own entropy it is off in "
        f"{share(own > 1e-6)} team games of two states, by {two(own.median())} of the gradient in "
        f"the middle and {two(own.max())} at worst",
        {"own": int((own > 1e-6).sum()), "worst": float(own.max()), "rest": rest},
    )


@cache
def proposition_5_6_fisher() -> Finding:
    """Marginal policies, joint entropy: F(θ_s) without the visits is another step than Eq. 4."""
    games, phi = potential_games(32)
    policies = random_policies(32, games)
    logits = [p.log().requires_grad_() for p in policies]
    start = torch.full((COUNT, 2), 0.5, dtype=torch.float64)
    shared = values(games, [logit.softmax(-1) for logit in logits], "joint")[:, 0]
    gradient = torch.autograd.grad((start * shared).sum(), logits)
    often = 0.2 * visits(average(games.chances, policies), start, 0.8)
    value = values(games, policies, "joint")
    off = {}
    for weighted in (False, True):
        off[weighted] = 0.0
        for i in range(2):
            q = action_values(games, policies, value[:, i], i) - policies[i].log()
            printed = 5 * (q - (policies[i] * q).sum(-1, keepdim=True))
            score = torch.eye(games.sizes[i], dtype=torch.float64) - policies[i][:, :, None]
            fisher = torch.einsum("zsa,zsai,zsaj->zsij", policies[i], score, score)
            if weighted:
                fisher = fisher * often[..., None, None]
            inverse = torch.linalg.pinv(fisher, rcond=1e-13, hermitian=True)
            natural = (inverse @ gradient[i][..., None])[..., 0]
            natural = natural - (policies[i] * natural).sum(-1, keepdim=True)
            ratio = (natural - printed).abs().amax((1, 2)) / printed.abs().amax((1, 2))
            off[weighted] = torch.maximum(torch.as_tensor(off[weighted]), ratio)
    return Finding(
        "Prop. 5.6 as printed: F(θ_s) is the Fisher matrix of π(a given s)",
        "holds if F counts visits to s",
        f"to 1e-6 of the step in 1,000 team games of two states; as printed, without visits, the "
        f"step of a state is off in {share(off[False] > 1e-3)}, by a factor of its visits",
        {"error": float(off[True].max()), "off": int((off[False] > 1e-3).sum())},
    )


@cache
def proposition_5_6_conditional() -> Finding:
    """One-shot teams: F of executed play sees no difference between answers to a^{-i}."""
    games, _ = potential_games(33, (2, 2), 1, 0.0)
    off = torch.stack(
        [
            conditional_steps(matrix, random_logits((33, k), 2, 2))[2]
            for k, matrix in enumerate(games.rewards[:, 0, 0])
        ]
    )
    vpg, natural, _ = conditional_steps(tensor([[1, 0], [0, 0]]), torch.zeros(2, 2).double())
    return Finding(
        "Prop. 5.6 for conditional policies, π(a given s) their average under ρ, as printed",
        "fails",
        f"the two steps of the answers differ in {share(off > 1e-3)} one-shot team games; both "
        f"paid 1 for one cell and all else 0, from even play: VPG moves the logits of the answer "
        f"to that column by ±{two(vpg[0, 0])}, the natural gradient of Φ by ±{two(natural[0, 0])}",
        {
            "off": int((off > 1e-3).sum()),
            "vpg": float(vpg[0, 0]),
            "natural": float(natural[0, 0]),
        },
    )


def conditional_steps(matrix, theta):
    """Agent 1's steps of its answers' logits θ_{a,b}, without the average over a; ρ is even.

    By VPG, by the natural gradient of Φ with the Fisher matrix of executed play, and how far apart.
    """
    model = torch.full((2,), 0.5, dtype=torch.float64)
    policy = theta.softmax(0)
    vpg = matrix - policy.log()
    vpg = vpg - (policy * vpg).sum(0)
    gradient = (model * policy * vpg).reshape(4)
    # ∂ log e(a) / ∂ θ(c, b) = ρ(b) π(a|b) (1[a = c] − π(c|b)) / e(a)
    e = policy @ model
    bend = torch.eye(2, dtype=torch.float64)[:, :, None] - policy[None]
    slope = (model * policy[:, None] * bend / e[:, None, None]).reshape(2, 4)
    fisher = slope.T @ torch.diag(e) @ slope
    natural = (torch.linalg.pinv(fisher, hermitian=True) @ gradient).reshape(2, 2)
    natural = natural - (policy * natural).sum(0)
    return vpg, natural, (natural - vpg).abs().max() / vpg.abs().max()


def curvature(games, phi, logits):
    """The largest |∇²(Φ + τ H)| from any state, by game: (B,)."""
    parts = [games.states * size for size in games.sizes]
    x = torch.cat([logit.flatten(1) for logit in logits], 1).requires_grad_()
    policies = [part.unflatten(1, (games.states, -1)).softmax(-1) for part in x.split(parts, 1)]
    team = Games(torch.stack([phi] * games.agents, 1), games.chances, games.discount)
    shared, most = values(team, policies, "joint")[:, 0], []
    for state in range(games.states):
        (slope,) = torch.autograd.grad(shared[:, state].sum(), x, create_graph=True)
        rows = [
            torch.autograd.grad(slope[:, k].sum(), x, retain_graph=True)[0]
            for k in range(x.shape[1])
        ]
        most.append(torch.linalg.matrix_norm(torch.stack(rows, 1), 2))
    return torch.stack(most).amax(0)


def printed_l(n, actions, discount):
    one = 1 / (1 - discount)
    entropy_part = 2 * (n * n + n + 1) * (1 + log(actions)) * one**2 + (3 * n + 2) * one
    return 2 * (n + 1) ** 2 * one**3 + entropy_part


LEMMA_CASES = [
    ((3,), 2, 0.0, 200),
    ((2,), 2, 0.5, 200),
    ((2, 3), 2, 0.3, 300),
    ((2, 2), 2, 0.9, 300),
    ((2, 2, 2), 2, 0.5, 100),
    ((2, 2, 2, 2), 1, 0.0, 100),
]


@cache
def lemma_5_7() -> Finding:
    worst, count = {}, 0
    for k, (sizes, states, discount, number) in enumerate(LEMMA_CASES):
        for moved in (True, False):
            games, phi = potential_games((34, k), sizes, states, discount, moved, count=number)
            scale = [0.3, 1.0, 3.0][k % 3]
            logits = [p.log() for p in random_policies((34, k), games, scale)]
            bound = printed_l(len(sizes), max(sizes), discount)
            top = float(curvature(games, phi, logits).max()) / bound
            worst[len(sizes)] = max(worst.get(len(sizes), 0.0), top)
            count += number
    top = max(searched(*case) for case in (((2,), 1, 0.0), ((2,), 2, 0.9), ((2, 2), 1, 0.0)))
    return Finding(
        "Lemma 5.7: Φ + τ H is L-smooth",
        "holds",
        f"worst |∇²| / L is {two(max(worst.values()))} in {count:,} potential games of one to four "
        "agents, γ from 0 to 0.9, whether actions move the state or not, and "
        f"{two(max(top, *worst.values()))} after a search from there",
        {
            "worst": max(worst.values()),
            "searched": top,
            "library": smoothness(games.table()),
            "printed": bound,
        },
    )


def searched(sizes, states, discount, rounds=150):
    """The worst |∇²| / L of a hundred team games, each moved at random and kept where it grew."""
    best, phi = potential_games(70, sizes, states, discount, count=100)
    logits = [p.log() for p in random_policies(70, best)]
    top = curvature(best, phi, logits)
    for k in range(rounds):
        moves = [random_logits((70, k, i), *x.shape, scale=0.3) for i, x in enumerate(logits)]
        tried = [logit + move for logit, move in zip(logits, moves, strict=True)]
        reward = (phi + random_logits((70, k, 8), *phi.shape, scale=0.2)).clamp(-1, 1)
        law = (
            best.chances.clamp_min(1e-9).log()
            + random_logits((70, k, 9), *best.chances.shape, scale=0.5)
        ).softmax(-1)
        games = Games(torch.stack([reward] * len(sizes), 1), law, discount)
        found = curvature(games, reward, tried)
        better = found > top
        top = torch.where(better, found, top)
        pick = [
            torch.where(better[:, None, None], a, b) for a, b in zip(tried, logits, strict=True)
        ]
        logits, kept = pick, better.reshape(-1, *[1] * (law.ndim - 1))
        chances = torch.where(kept, law, best.chances)
        phi = torch.where(kept[..., 0], reward, phi)
        best = Games(torch.stack([phi] * len(sizes), 1), chances, discount)
    return float(top.max()) / printed_l(len(sizes), max(sizes), discount)


@cache
def steps_of_one_over_l() -> Finding:
    falls = {}
    for name, moved, pays, rounds in (
        ("still", False, "own", 0),
        ("joint", True, "joint", 0),
        ("own", True, "own", 100),
    ):
        games, phi = potential_games(35, (2, 2), 2, 0.5, moved)
        beta = 2 / printed_l(2, 2, 0.5)  # η / (1 − γ) at η = 1 / L
        policies = random_policies(35, games, 3.0)
        for _ in range(rounds):  # to the maximum of the potential
            policies = whole_step(games, policies, 0.2, "joint")
        team = Games(torch.stack([phi] * 2, 1), games.chances, 0.5)
        after = values(team, whole_step(games, policies, beta, pays), "joint")[:, 0]
        falls[name] = (values(team, policies, "joint")[:, 0] - after).amax(1)
    own = falls["own"] > 1e-11
    return Finding(
        "Below Lemma 5.7: with the learning rate 1 / L the potential does not fall",
        "holds with the joint entropy",
        f"or where actions do not move the state: no fall in 2,000 games; with own entropies Φ + "
        f"τ H falls in {share(own)} team games, from its maximum",
        {"fall": max(float(falls[k].max()) for k in ("still", "joint")), "own": int(own.sum())},
    )


# --- Theorem 5.8 ----------------------------------------------------------------------------------


def settled(games, steps, discount, pays):
    """After so many steps 1 / L from random policies: the policies, and what is left to move."""
    policies = random_policies(36, games)
    beta = 1 / (printed_l(2, 2, discount) * (1 - discount))
    for _ in range(steps):
        policies = whole_step(games, policies, beta, pays)
    moved = whole_step(games, policies, 1.0, pays)
    return policies, max(float((a - b).abs().max()) for a, b in zip(policies, moved, strict=True))


@cache
def theorem_5_8_marginal() -> Finding:
    """All at once from random policies, where actions do not move the state."""
    ratios, lefts = [], []
    for states, discount, steps in ((1, 0.0, 2000), (2, 0.5, 4000)):
        games, _ = potential_games((36, states), (2, 2), states, discount, False, count=COUNT // 2)
        policies, left = settled(games, steps, discount, "own")
        ratios.append(nash_gap(games, policies) * (1 - discount) / log(2))
        lefts.append(left)
    worst = float(torch.cat(ratios).max())
    return Finding(
        "Theorem 5.8, marginal policies, exact models: VPG converges, ε = τ log |A| / (1 − γ)",
        "holds",
        "where actions do not move the state: steps of 1 / L settle all 1,000 potential games, of "
        f"one step and of two states (1e-6); worst ratio {two(worst)}",
        {"left": max(lefts), "worst": worst},
    )


@cache
def theorem_5_8_joint_entropy() -> Finding:
    """What makes V^i follow the potential makes agents value the others' freedom too."""
    games, _ = potential_games(39, (2, 2), 2, 0.5)
    policies, left = settled(games, 4000, 0.5, "joint")
    ratios = [nash_gap(games, policies) * 0.5 / (2 * log(2))]
    for seed, discount in ((40, 0.5), (41, 0.95)):
        games, policies = planted(seed, (2, 3), 3, discount, pays="joint")
        ratios.append(nash_gap(games, policies) * (1 - discount) / log(6))
    worst = float(torch.cat(ratios).max())
    games, policies = company()
    gap = float(nash_gap(games, policies))
    return Finding(
        "Theorem 5.8 with the joint entropy that Prop. 5.6 needs, and the same ε",
        "holds with τ Σ_j log |A^j| / (1 − γ)",
        "4,000 steps of 1 / L end within 0.001 of rest in 1,000 team games of two states; worst "
        f"ratio {two(worst)} there and at 2,000 planted fixed points. A team "
        f"of two prefers freedom for both to pay 1: gap {two(gap)} at "
        f"γ = 0.9, printed ε {two(10 * log(2))}, repaired {two(20 * log(2))}",
        {"left": left, "worst": worst, "example": gap},
    )


def company():
    """A team of two; agent 1 opens one of two doors for good. Behind one nothing is paid.

    Behind the other both get 1 where both take their first action, and lose 9 elsewhere.
    """
    chances = torch.zeros(1, 3, 2, 2, 3, dtype=torch.float64)
    chances[0, 0, 0, :, 1] = chances[0, 0, 1, :, 2] = 1
    chances[0, 1, :, :, 1] = chances[0, 2, :, :, 2] = 1
    reward = torch.zeros(3, 2, 2, dtype=torch.float64)
    reward[2] = tensor([[1, -9], [-9, -9]])
    games = Games(reward.expand(1, 2, 3, 2, 2), chances, 0.9)
    policies = [tensor([[[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]])] * 2
    for _ in range(500):
        policies = whole_step(games, policies, 0.2, "joint")
    return games, policies


@cache
def theorem_5_8_proof() -> Finding:
    """The proof has Φ(π̃) ≤ Φ(π*) + ε for any Nash equilibrium π̃."""
    games = random_games(37, (2, 2), 1, 0.0, 10.0, team=True)
    matrix = games.rewards[:, 0, 0]
    ends = [
        average(games.rewards[:, 0], team_fixed_point(games, start))[:, 0]
        for start in product((0, 1), repeat=2)
    ]
    short = matrix.amax((1, 2)) - torch.stack(ends).amin(0) > log(2)
    return Finding(
        "Proof of Theorem 5.8: no Nash equilibrium has a potential higher by more than ε",
        "fails",
        f"in {share(short)} team games steps may end short of the best equilibrium by more than "
        "log max |A|; both paid [[10, 0], [0, 10]]: even play stays, 5 short. The theorem does not "
        "need it: Theorem 4.2 proves it",
        {"short": int(short.sum())},
    )


@cache
def theorem_5_8_conditional() -> Finding:
    games, _ = potential_games(38, (2, 2), 1, 0.0, moved=False, size=10.0)
    ratio = executed_gap(games) / log(2)
    one, other = SMALLEST_POTENTIAL
    gap = float(executed_gap(one_shot(10 * tensor(one), 10 * tensor(other))))
    return Finding(
        "Theorem 5.8, conditional policies as Algorithm 1 has them, exact models",
        "fails",
        f"executed play is beyond ε in {share(ratio > 1)} one-shot potential games at τ = 0.1; row "
        f"{one} and column {other} at τ = 0.1: gap {two(gap / 10)}, ε {two(log(2) / 10)}",
        {"broken": int((ratio > 1).sum()), "example": gap / 10},
    )


SMALLEST_POTENTIAL = ([[1, 0], [0, 0]], [[0, 0], [0, 1]])


FINDINGS = [
    v for v in list(globals().values()) if hasattr(v, "cache_info") and v.__module__ == __name__
]
