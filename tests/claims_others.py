"""Sections 5.2 to 5.4: crowds, correlated play and zero-sum games."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.optimize import linprog

from tests.claims_games import (
    COUNT,
    Finding,
    action_values,
    average,
    entropy,
    random_games,
    random_logits,
    random_policies,
    share,
    tensor,
    two,
    values,
)

# --- Section 5.2 ----------------------------------------------------------------------------------


def crowd(seed, steps=3):
    """An agent facing a given crowd: rewards (B, T+1, S, A) and chances (B, T, S, A, S), prior."""
    reward = random_logits((seed, 1), COUNT, steps, 2, 3)
    chances = random_logits((seed, 2), COUNT, steps - 1, 2, 3, 2).softmax(-1)
    return reward, chances, random_logits((seed, 3), COUNT, steps, 2, 3).log_softmax(-1)


def crowd_elbo(reward, chances, prior, policies):
    """E Σ r − log π + log π̄ from every first state, (B, S)."""
    value = torch.zeros(reward.shape[0], 2, dtype=torch.float64)
    for t in reversed(range(reward.shape[1])):
        ahead = 0.0
        if t + 1 < reward.shape[1]:
            ahead = (chances[:, t] @ value[:, None, :, None])[..., 0]
        policy = policies[t]
        value = (policy * (reward[:, t] + ahead - policy.log() + prior[:, t])).sum(-1)
    return value


def crowd_responses(reward, chances, prior, printed):
    """Eq. 12 by Eq. 11; as printed, log π̄ / π of the present step stands inside its own Q."""
    policies, ahead = [], 0.0
    for t in reversed(range(reward.shape[1])):
        q = reward[:, t] + ahead
        last = t + 1 == reward.shape[1]
        # π ∝ π̄ exp(Q − log π + log π̄) has the solution π ∝ π̄ exp(Q / 2)
        log_policy = (prior[:, t] + (q / 2 if printed and not last else q)).log_softmax(-1)
        policies.insert(0, log_policy.exp())
        if printed and not last:
            q = q - log_policy + prior[:, t]
        value = (log_policy.exp() * (q if printed else q - log_policy + prior[:, t])).sum(-1)
        if t:
            ahead = (chances[:, t - 1] @ value[:, None, :, None])[..., 0]
    return policies


@cache
def equations_11_and_12() -> Finding:
    games = crowd(61)
    best = crowd_elbo(*games, crowd_responses(*games, printed=False))
    loss = (best - crowd_elbo(*games, crowd_responses(*games, printed=True))).amax(-1)
    over = -1.0
    for trial in range(20):
        other = random_logits((61, trial), 3, COUNT, 2, 3).softmax(-1)
        over = max(over, float((crowd_elbo(*games, other) - best).max()))
    return Finding(
        "Eq. 11 and 12: the best response to a crowd",
        "holds with π and π̄ of the next step in Eq. 11",
        f"no other policy of 20 is better in 1,000 games of three steps; with log π(a_t given s_t) "
        f"as printed the ELBO is lower in {share(loss > 1e-9)}, by up to {two(loss.max())}; paid 1 "
        f"or 0 now and nothing later: {two(tensor([0.5, 0]).softmax(-1)[0])} for "
        f"{two(tensor([1.0, 0]).softmax(-1)[0])}",
        {"worse": int((loss > 1e-9).sum()), "over": over},
    )


@cache
def algorithm_4() -> Finding:
    """One step, three places; everybody wants where few are: r(a, L) = −c_a L(a)."""
    c = tensor(10 ** np.random.default_rng(62).uniform(-0.5, 1.5, (COUNT, 3)))
    ends = crowd_rounds(c)
    cycles = ends > 1e-6
    example = crowd_rounds(tensor([[5.0, 5.0]]), tensor([[0.6, 0.4]]))
    calm = crowd_rounds(c / (2 * c.amax(-1, keepdim=True)))
    return Finding(
        "Abstract, Alg. 4: mean-field equilibria “with rigorous theoretical convergence analysis”",
        "fails",
        f"no theorem says so, and Algorithm 4 cycles in {share(cycles)} crowds that avoid "
        f"crowding, r = −c L(a); with two places and r = −5 L(a) (τ = 1) two rounds in a row end "
        f"{two(example[0])} apart. It settles in all 1,000 where c ≤ τ / 2",
        {"cycles": int(cycles.sum()), "example": float(example[0]), "calm": float(calm.max())},
    )


def crowd_rounds(c, law=None, rounds=2000):
    """How far apart the last two laws of Algorithm 4 are."""
    if law is None:
        law = (0.1 * c / c.amax(-1, keepdim=True)).softmax(-1)
    for _ in range(rounds):
        before, law = law, (-c * law).softmax(-1)
    return (law - before).abs().amax(-1)


# --- Section 5.3 ----------------------------------------------------------------------------------


def equilibria(first, second):
    """All Nash equilibria of 2 × 2 games without ties: (B, 5, 2) probabilities of action 0, and
    which exist: four pure ones and the mixed one."""
    pure = []
    for i, j in product((0, 1), repeat=2):
        good = (first[:, i, j] >= first[:, 1 - i, j]) & (second[:, i, j] >= second[:, i, 1 - j])
        pure.append(
            (
                good,
                torch.full_like(good, 1.0 - i, dtype=torch.float64),
                torch.full_like(good, 1.0 - j, dtype=torch.float64),
            )
        )
    bend_1 = first[:, 0, 0] - first[:, 1, 0] - first[:, 0, 1] + first[:, 1, 1]
    bend_2 = second[:, 0, 0] - second[:, 0, 1] - second[:, 1, 0] + second[:, 1, 1]
    y = (first[:, 1, 1] - first[:, 0, 1]) / bend_1
    x = (second[:, 1, 1] - second[:, 1, 0]) / bend_2
    mixed = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    there = torch.stack([p[0] for p in pure] + [mixed], 1)
    rows = torch.stack([p[1] for p in pure] + [torch.where(mixed, x, 0.5)], 1)
    columns = torch.stack([p[2] for p in pure] + [torch.where(mixed, y, 0.5)], 1)
    return torch.stack([rows, columns], -1), there


def swap_gain(first, second, law):
    """The most that an agent gains by doing another action than it was told: (B,)."""
    gains = []
    for i, j in ((0, 1), (1, 0)):
        gains.append((law[:, i] * (first[:, j] - first[:, i])).sum(-1))
        gains.append((law[:, :, i] * (second[:, :, j] - second[:, :, i])).sum(-1))
    return torch.stack(gains).amax(0)


def pair(x, y):
    """The joint law of independent play with P(action 0) = x and y: (..., 2, 2)."""
    row, column = torch.stack([x, 1 - x], -1), torch.stack([y, 1 - y], -1)
    return row[..., :, None] * column[..., None, :]


def signalled(seed):
    """Games of two by two, a third of them with three equilibria, and a signal that picks one."""
    random = np.random.default_rng(seed)
    first, second = tensor(random.uniform(-1, 1, (2, COUNT, 2, 2)))
    half = COUNT // 2  # make half of them coordination games, that have several equilibria
    for matrix in (first, second):
        matrix[:half, 0, 0] += 2
        matrix[:half, 1, 1] += 2
    found, there = equilibria(first, second)
    sigma = tensor(random.dirichlet(np.ones(5), COUNT)) * there
    return first, second, found, sigma / sigma.sum(-1, keepdim=True), there


@cache
def section_5_3_is_correlated() -> Finding:
    first, second, found, sigma, there = signalled(63)
    law = (sigma[..., None, None] * pair(found[..., 0], found[..., 1])).sum(1)
    gain = swap_gain(first, second, law)
    return Finding(
        "Section 5.3: play by a public signal over Nash equilibria is a correlated equilibrium",
        "holds",
        f"no swap gains (1e-12) in 1,000 games of two by two, {int((there.sum(1) > 1).sum())} of "
        "them with several equilibria, for random σ",
        {"gain": float(gain.max()), "least": int(there.sum(1).min())},
    )


@cache
def table_1_correlated() -> Finding:
    """Table 1: everyone's policy is its own average over ω, which does away with the signal."""
    first, second, found, sigma, there = signalled(63)
    average_play = (sigma[..., None] * found).sum(1)
    gain = swap_gain(first, second, pair(average_play[:, 0], average_play[:, 1]))
    several = there.sum(1) > 1
    same = tensor([[[1, 0], [0, 1]]])
    third = tensor([1 / 3])
    example = float(swap_gain(same, same, pair(third, third)))
    return Finding(
        "Table 1: the correlated policy is Σ_ω π(a^i given s, a^{-i}, ω) σ(ω)",
        "fails",
        f"averaged by each agent for itself, play is a product: a swap gains in "
        f"{share(gain[several] > 1e-6)} games with several equilibria, up to {two(gain.max())}; "
        f"both paid [[1, 0], [0, 1]] and σ = (1/3, 2/3): gain {two(example)}. The average must be "
        "of joint play",
        {"broken": int((gain > 1e-6).sum()), "example": example},
    )


def best_correlated(first, second, aim):
    """The largest mean of the aim over correlated equilibria, by linear program."""
    rows = []
    for i, j in ((0, 1), (1, 0)):
        row = np.zeros((2, 2))
        row[i] = first[j] - first[i]
        rows.append(row.ravel())
        row = np.zeros((2, 2))
        row[:, i] = second[:, j] - second[:, i]
        rows.append(row.ravel())
    result = linprog(
        -aim.ravel(),
        A_ub=np.array(rows),
        b_ub=np.zeros(4),
        A_eq=np.ones((1, 4)),
        b_eq=[1.0],
    )
    assert result.success
    return -result.fun


@cache
def section_5_3_reaches_all() -> Finding:
    """Among games with several equilibria, for the sum of payoffs and for any other aim."""
    random = np.random.default_rng(64)
    first, second = tensor(random.uniform(-1, 1, (2, 12 * COUNT, 2, 2)))
    several = equilibria(first, second)[1].sum(1) > 1
    first, second = first[several][:COUNT], second[several][:COUNT]
    found, there = equilibria(first, second)
    law = pair(found[..., 0], found[..., 1])
    more = {}
    for name, aim in (
        ("sum", first + second),
        ("any", tensor(random.uniform(-1, 1, (COUNT, 2, 2)))),
    ):
        nash = torch.where(there, (law * aim[:, None]).sum((2, 3)), -torch.inf).amax(1)
        games = zip(first.numpy(), second.numpy(), aim.numpy(), strict=True)
        more[name] = tensor([best_correlated(*game) for game in games]) - nash
    one, other = (np.array(matrix, float) for matrix in CHICKEN)
    top, nash = best_correlated(one, other, one + other), best_nash(one, other)
    return Finding(
        "Section 5.3: “inference for correlated equilibrium”",
        "holds for mixtures of Nash equilibria alone",
        f"of games with several equilibria, {share(more['any'] > 1e-6)} have a correlated one that "
        f"is better for a random aim, and {share(more['sum'] > 1e-6)} for the sum of payoffs; "
        f"chicken, {CHICKEN[0]} and its mirror image: {two(top)} against {two(nash)}",
        {
            "any": int((more["any"] > 1e-6).sum()),
            "sum": int((more["sum"] > 1e-6).sum()),
            "top": top,
            "nash": nash,
            "least": min(float(x.min()) for x in more.values()),
        },
    )


CHICKEN = ([[3, 1], [4, 0]], [[3, 4], [1, 0]])


def best_nash(first, second):
    """The largest sum of payoffs over the Nash equilibria of one game."""
    one, other = tensor(first)[None], tensor(second)[None]
    found, there = equilibria(one, other)
    welfare = (pair(found[..., 0], found[..., 1]) * (one + other)[:, None]).sum((2, 3))
    return float(torch.where(there, welfare, -torch.inf).max())


@cache
def augmented_state() -> Finding:
    """P((s', ω') | (s, ω), a) = σ(ω') Σ_ω P(s'|s, a) σ(ω), as printed, and without the sum."""
    games = random_games(65)
    sigma = random_logits(65, COUNT, 3).softmax(-1)
    once = sigma[:, None, None, None, None] * games.chances[..., None]
    printed = once * sigma.sum(-1).reshape(-1, 1, 1, 1, 1, 1)
    return Finding(
        "Section 5.3: the dynamics of the augmented state (s, ω)",
        "holds",
        "the stray Σ_ω σ(ω) of the print is 1: the same law in 1,000 games",
        {"error": float((once - printed).abs().max())},
    )


# --- Section 5.4 ----------------------------------------------------------------------------------


@cache
def zero_sum_as_printed() -> Finding:
    """r^{-i} = r^i; ρ ∝ u exp(−Q^i(s, a)) is then the worst ally, and not normalised by E_ρ."""
    games = random_games(66, (2, 3), 1, 0.0)
    matrix, policies = games.rewards[:, 0, 0], random_policies(66, games)
    q = (policies[0] @ matrix)[:, 0]
    meant, ally = (-q).softmax(-1), q.softmax(-1)
    off = (meant - ally).abs().amax(-1)
    prior = torch.full_like(q, 1 / 3)
    rho = policies[1][:, 0]
    total = (prior * (-q).exp()).sum(-1) / (rho * (-q).exp()).sum(-1)
    depends = (-matrix).softmax(-1)
    across = (depends[:, 0] - depends[:, 1]).abs().amax(-1)
    return Finding(
        "Section 5.4 as printed: r^{-i} = r^i, ρ* = u exp(−Q^i(s, a)) / E_ρ[exp(−Q^i)]",
        "fails",
        f"with that sign the answer is the ally's, in {share(off > 1e-6)} games; over E_ρ it sums "
        f"to {two(total.min())} to {two(total.max())}; and without an average over a^i it depends "
        f"on what agent i does now in {share(across > 1e-6)}",
        {"off": int((off > 1e-6).sum()), "least": float(total.min()), "most": float(total.max())},
    )


@cache
def zero_sum_as_meant() -> Finding:
    """r² = −r¹, E over a^i and u: Eq. 5 of the opponent in one step; in several, by which Q?"""
    games = random_games(67, (2, 3), 2)
    rewards = games.rewards.clone()
    rewards[:, 1] = -rewards[:, 0]
    games = type(games)(rewards, games.chances, games.discount)
    policies = random_policies(67, games)
    own = values(games, policies)
    both = values(games, policies, "none")[:, 0]
    law = average(games.chances, policies)
    from tests.claims_games import worth

    both = both + worth(law, entropy(policies[0]) - entropy(policies[1]), games.discount)
    wanted = action_values(games, policies, -both, 1).softmax(-1)
    printed = zero_sum_answer(games, policies, own[:, 0])
    eq_5 = action_values(games, policies, own[:, 1], 1).softmax(-1)
    off = (printed - eq_5).abs().amax((1, 2))
    shot = random_games(68, (2, 3), 1, 0.0)
    q = (random_policies(68, shot)[0] @ shot.rewards[:, 0, 0])[:, 0]
    one = (random_policies(68, shot)[0] @ -shot.rewards[:, 0, 0])[:, 0].softmax(-1)
    return Finding(
        "Section 5.4 as meant: ρ* ∝ u exp(−E Q^i / τ) is the opponent's Eq. 5",
        "holds where V pays both entropies",
        "or in one step (1e-12). In several, −Q^i of Def. 5.1 charges the opponent for i's "
        f"entropy and pays it none: another answer than Eq. 5 in {share(off > 1e-6)} games of two "
        f"states, by up to {two(off.max())}; with V = E Σ γ^t (r + τ H^i − τ H^-i) they share Q",
        {
            "off": int((off > 1e-6).sum()),
            "worst": float(off.max()),
            "one": float(((-q).softmax(-1) - one).abs().max()),
            "shared": float((wanted - zero_sum_answer(games, policies, both)).abs().max()),
        },
    )


def zero_sum_answer(games, policies, value):
    """softmax(−E Q¹) of agent 2, by a value of agent 1."""
    reward = average(games.rewards[:, 0], policies, (1,))
    chances = average(games.chances, policies, (1,))
    return (-(reward + games.discount * (chances @ value[:, None, :, None])[..., 0])).softmax(-1)


@cache
def zero_sum_probabilities() -> Finding:
    """log P(O^i) = −log P(O^{-i}), both at most 0, leaves 0 alone; up to constants all is well."""
    reward = random_games(69, (2, 2), 1, 0.0).rewards[:, 0, 0]
    possible = (reward <= 0).all(-1).all(-1) & (-reward <= 0).all(-1).all(-1)
    return Finding(
        "Section 5.4: log P(O^i given s, a) = −log P(O^{-i} given s, a)",
        "holds up to a constant",
        f"two probabilities with that are both 1: exactly so in {share(possible)} games; with a "
        "constant taken off each reward, always",
        {"possible": int(possible.sum())},
    )


FINDINGS = [
    v for v in list(globals().values()) if hasattr(v, "cache_info") and v.__module__ == __name__
]
