"""Section 5.1.1: best responses and natural-gradient steps."""

from __future__ import annotations

from functools import cache

import torch

from tests.claims_elbo import seeing
from tests.claims_games import (
    COUNT,
    Finding,
    Games,
    action_values,
    average,
    divergence,
    entropy,
    facing,
    layered,
    one_shot,
    random_games,
    random_logits,
    random_policies,
    share,
    sizes_of_rewards,
    soft_best,
    tensor,
    two,
    values,
    visits,
    worth,
)

# --- Definition 5.1, Proposition 5.2 --------------------------------------------------------------


def imagined(seed, discount=0.8):
    """Games with answers π(a|s, b), models ρ(b|s) and what is played π2(b|s), of agent 1."""
    games = random_games(seed, (3, 2), 2, discount)
    answer = random_logits((seed, 1), COUNT, 2, 3, 2).softmax(2)
    return games, answer, random_policies((seed, 2), games)[1], random_policies((seed, 3), games)[1]


def imagined_value(games, answer, model, played):
    """J^i of Eq. 3 from every state, with its discount: r + H(π) − KL(ρ‖π2), (B, S)."""
    law = answer * model[:, :, None]
    stream = (law * (games.rewards[:, 0] - answer.log())).sum((2, 3)) - divergence(model, played)
    return worth((law[..., None] * games.chances).sum((2, 3)), stream, games.discount)


@cache
def definition_5_1() -> Finding:
    games, answer, model, played = imagined(21)
    value = imagined_value(games, answer, model, played)
    ahead = games.discount * (games.chances @ value[:, None, None, :, None])[..., 0]
    q = games.rewards[:, 0] + played.log()[:, :, None] + ahead
    law = answer * model[:, :, None]
    meant = (law * (q - answer.log() - model.log()[:, :, None])).sum((2, 3))
    other = (law * (q - answer.log() * model[:, :, None])).sum((2, 3))
    return Finding(
        "Def. 5.1: V is the ELBO of Eq. 3, for Q with its term + τ log π^{-i}",
        "holds",
        "to 1e-12 in 1,000 games, where log π ρ is the log of the product and the sum over later "
        f"steps is discounted; (log π) ρ is off by up to {two((other - value).abs().max())}",
        {
            "error": float((meant - value).abs().max()),
            "other": float((other - value).abs().max()),
        },
    )


@cache
def display_before_proposition_5_2() -> Finding:
    games, _, model, _ = imagined(22, 0.0)
    q = games.rewards[:, 0]
    answer = random_logits(22, COUNT, 2, 3, 2).softmax(2)
    j = ((answer * model[:, :, None]) * (q - answer.log() - model.log()[:, :, None])).sum((2, 3))
    best = q.softmax(2)
    gap = (answer * (answer.log() - best.log())).sum(2)
    z = q.exp().sum(2)
    meant = (model * (z.log() - gap)).sum(-1) + entropy(model)
    printed = (model * (z - gap)).sum(-1) + entropy(model)
    return Finding(
        "Display above Prop. 5.2: J = E[ Z + H(ρ) − KL(π ‖ exp(Q) / Z) ]",
        "holds with log Z for Z",
        f"to 1e-12 in 1,000 games; with Z it is off by {two((printed - j).abs().min())} at least "
        "(one action, no reward: J = 0, and Z = 1)",
        {
            "error": float((meant - j).abs().max()),
            "printed": float((printed - j).abs().min()),
        },
    )


@cache
def proposition_5_2_as_printed() -> Finding:
    """Q^i(·; π) of whatever π is; two steps, the second of which π plays badly."""
    games = layered(random_games(23, (3, 2), 4), 2)
    policies = random_policies(23, games)
    value = values(games, policies)[:, 0]
    answer = action_values(games, policies, value, 0).softmax(-1)
    best = soft_best(*facing(games, policies, 0), 1.0)[1]
    loss = (best - values(games, [answer, policies[1]])[:, 0]).amax(-1)
    example = two_doors()
    even = [torch.full((1, 3, 2), 0.5, dtype=torch.float64)]
    to = action_values(example, even, values(example, even)[:, 0], 0).softmax(-1)
    best = soft_best(*facing(example, even, 0), 1.0)[0]
    return Finding(
        "Prop. 5.2 as printed: softmax(Q^i(s, a; π) / τ) is the best response, for any π",
        "fails",
        f"it is one step towards it: in {share(loss > 1e-6)} games of two steps its ELBO is lower, "
        f"by up to {two(loss.max())}; one agent, two doors: it takes the better one with "
        f"{two(to[0, 0, 0])}, the best response with {two(best[0, 0, 0])}",
        {
            "worse": int((loss > 1e-6).sum()),
            "printed": float(to[0, 0, 0]),
            "best": float(best[0, 0, 0]),
        },
    )


def two_doors():
    """One agent, two steps: behind the first door it may take 2 or 0, behind the other 1 anyway."""
    chances = torch.zeros(1, 3, 2, 3, dtype=torch.float64)
    chances[0, 0, 0, 1] = chances[0, 0, 1, 2] = 1
    return Games(tensor([[[[0, 0], [2, 0], [1, 1]]]]), chances, 1.0)


@cache
def proposition_5_2_as_meant() -> Finding:
    """At Q of the response itself: no other policy is better, and the gradient is zero."""
    games, _, model, _ = imagined(24)
    error, over = 0.0, -1.0
    for reward, chances in (seeing(games, model), facing(games, [model, model], 0)):
        logits = soft_best(reward, chances, 0.8)[0].log().requires_grad_()
        best = decision_value(reward, chances, logits.softmax(-1), 0.8)
        (gradient,) = torch.autograd.grad(best.sum(), logits)
        q = reward + 0.8 * (chances @ best.detach()[:, None, :, None])[..., 0]
        error = max(
            error,
            float(gradient.abs().max()),
            float((q.softmax(-1) - logits.detach().softmax(-1)).abs().max()),
        )
        for trial in range(20):
            other = random_logits((24, trial), *reward.shape, scale=2.0).softmax(-1)
            over = max(
                over, float((decision_value(reward, chances, other, 0.8) - best.detach()).max())
            )
    return Finding(
        "Prop. 5.2 as meant: Q of the response itself; E_ρ[Q] where π is marginal",
        "holds",
        "both factorisations, 1,000 games: gradient 0 (1e-10), and none of 20 other policies each "
        f"is better (nearest: {two(-over)} lower)",
        {"error": error, "over": over},
    )


def decision_value(reward, chances, policy, discount):
    law = (chances * policy[..., None]).sum(2)
    return worth(law, (reward * policy).sum(-1) + entropy(policy), discount)


# --- Proposition 5.3, Equation 4 ------------------------------------------------------------------

STEPS = (0.1, 0.5, 1.0, 1.9)


@cache
def proposition_5_3() -> Finding:
    """θ + η F† ∇V of conditional policies, F the Fisher matrix under discounted visits, by pinv."""
    games = random_games(25, (3, 2), 2, 0.8)
    model = random_policies(25, games)[1]
    reward, chances = seeing(games, model)  # its states are pairs (s, b)
    start = model.flatten(1) / 2
    logits = random_logits(25, *reward.shape).requires_grad_()
    policy = logits.softmax(-1)
    value = decision_value(reward, chances, policy, 0.8)
    (gradient,) = torch.autograd.grad((start * value).sum(), logits)
    value, policy = value.detach(), policy.detach()
    law = (chances * policy[..., None]).sum(2)
    often = 0.2 * visits(law, start, 0.8)
    eye = torch.eye(3, dtype=torch.float64)
    score = eye - policy[:, :, None]  # ∇ log π(a|s, b) by its own parameters
    fisher = torch.einsum("zk,zka,zkai,zkaj->zkij", often, policy, score, score)
    full = torch.zeros(COUNT, 4, 3, 4, 3, dtype=torch.float64)
    full[:, range(4), :, range(4)] = fisher.movedim(1, 0)
    natural = torch.linalg.pinv(full.reshape(COUNT, 12, 12), rcond=1e-13, hermitian=True)
    natural = (natural @ gradient.reshape(COUNT, 12, 1)).reshape(COUNT, 4, 3)
    q = reward + 0.8 * (chances @ value[:, None, :, None])[..., 0]
    error = 0.0
    for beta in STEPS:
        stepped = (logits.detach() + beta * 0.2 * natural).softmax(-1)
        printed = ((1 - beta) * policy.log() + beta * q).softmax(-1)
        error = max(error, float((stepped - printed).abs().max()))
    return Finding(
        "Prop. 5.3, Eq. 4: the natural-gradient step, Fisher matrix by discounted visits",
        "holds with ∇V for V",
        "to 1e-6 in 1,000 games of two states for β = 0.1, 0.5, 1 and 1.9 (the proof prints F† V)",
        {"error": error},
    )


@cache
def equation_4_alone() -> Finding:
    games = random_games(26, (3, 2), 3, 0.8, sizes_of_rewards(26))
    policies = random_policies(26, games)
    before = values(games, policies)[:, 0]
    q = action_values(games, policies, before, 0)
    falls = {}
    for beta in STEPS:
        new = ((1 - beta) * policies[0].log() + beta * q).softmax(-1)
        falls[beta] = (before - values(games, [new, policies[1]])[:, 0]).amax(-1)
    over = falls[1.9] > 1e-9
    return Finding(
        "Eq. 4: a step of one agent alone does not lower its V, in any state",
        "holds for β ≤ 1",
        f"no V falls in 1,000 games for β = 0.1, 0.5, 1; for β = 1.9, which Alg. 1 allows, it "
        f"falls in {over.sum()}",
        {"fall": max(float(falls[b].max()) for b in STEPS[:3]), "over": int(over.sum())},
    )


@cache
def equation_4_all_at_once() -> Finding:
    games = random_games(27, (2, 2), 1, 0.0, 5.0, team=True)
    policies = random_policies(27, games)
    fall = team_value(games, policies) - team_value(games, whole_step(games, policies))
    example = one_shot([[0, 5], [5, 0]], [[0, 5], [5, 0]])
    start = [tensor([[[0.9, 0.1]]])] * 2
    rounds = [start]
    for _ in range(100):
        rounds.append(whole_step(example, rounds[-1]))
    worths = [float(average(example.rewards[:, 0], play)) for play in rounds]
    return Finding(
        "Alg. 1: all agents' steps of Eq. 4 at once (β = 1) raise the potential",
        "fails",
        f"they lower Φ + τ H in {share(fall[:, 0] > 1e-9)} team games of two by two; both paid "
        f"[[0, 5], [5, 0]] from (0.9, 0.1): pay {two(worths[0])}, then {two(worths[-1])} for ever",
        {"falls": int((fall > 1e-9).sum()), "start": worths[0], "end": max(worths[1:])},
    )


def team_value(games, policies):
    return values(games, policies, "joint")[:, 0]


def whole_step(games, policies, beta=1.0, pays="own"):
    """Eq. 4 by all agents at once."""
    value = values(games, policies, pays)
    return [
        ((1 - beta) * policies[i].log() + beta * action_values(games, policies, value[:, i], i))
        .log_softmax(-1)
        .exp()
        for i in range(games.agents)
    ]


@cache
def vpg_is_decentralised() -> Finding:
    """Q^i as printed has KL(ρ‖π^{-i}): another π^{-i} with the same ρ is another step."""
    games, answer, model, played = imagined(28)
    other = random_policies((28, 9), games)[1]
    steps = []
    for truth in (played, other):
        value = imagined_value(games, answer, model, truth)
        ahead = games.discount * (games.chances @ value[:, None, None, :, None])[..., 0]
        steps.append((games.rewards[:, 0] + ahead).softmax(2))
    moved = (steps[0] - steps[1]).abs().amax((1, 2, 3))
    rewards = games.rewards.clone()
    rewards[:, 1] = random_logits(28, *rewards[:, 1].shape)
    stranger = Games(rewards, games.chances, games.discount)
    policies = [answer.mean(3), model]
    same = [
        action_values(each, policies, values(each, policies)[:, 0], 0) for each in (games, stranger)
    ]
    return Finding(
        "Section 5.1: VPG is decentralised",
        "holds without KL(ρ ‖ π^{-i})",
        f"as printed Q^i depends on what others really play, beyond ρ: in {share(moved > 1e-6)} "
        f"games the step moves with it, by up to {two(moved.max())}; without that term, others' "
        "rewards and policies change nothing",
        {"moved": int((moved > 1e-6).sum()), "same": float((same[0] - same[1]).abs().max())},
    )


FINDINGS = [
    v for v in list(globals().values()) if hasattr(v, "cache_info") and v.__module__ == __name__
]
