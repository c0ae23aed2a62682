"""MAI with finite actions: losses against Pyro's enumeration, fixed points, and equilibria."""

from __future__ import annotations

from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO

import vsg_ppl as vsg
from vsg_ppl.finite_laws import explored, law
from vsg_ppl.guides.actions import Shape
from vsg_ppl.learner_networks import Plates
from vsg_ppl.mai import Cooling, mai
from vsg_ppl.mai_finite import LARGEST, FiniteLearner
from vsg_ppl.mai_finite_opponents import FINITE, FiniteGuessing, FiniteKnowing
from vsg_ppl.mai_finite_plan import FinitePlan
from vsg_ppl.models import Chicken, Congestion, PrisonersDilemma, Soccer, StagHunt
from vsg_ppl.replay import Replay
from vsg_ppl.settings import Settings

ALPHA, BETA, DRAWS, GROUPS, FEATURES = 0.7, 1.3, 5, 2, 3
OWN, OTHERS = 3, (2, 4)
"""Actions of an agent and of the others; the last action of each is sometimes not there."""

both = pytest.mark.parametrize("conditional", [False, True])


def learner(kind=FiniteLearner, groups=GROUPS, **options):
    torch.manual_seed(1)
    seen = FEATURES + OWN + sum(OTHERS)
    shapes = Shape("finite", OWN), [Shape("finite", n) for n in OTHERS]
    agent = kind(groups, seen, *shapes, hidden=(24,), learning_rate=1e-2, **options)
    for network in agent.networks.values():
        network.double()
    return agent


def sight(groups=GROUPS, draws=DRAWS):
    """Features, and weights of priors, with zeros in some of the draws."""
    torch.manual_seed(2)
    parts = [torch.randn(groups, draws, FEATURES)]
    for n in (OWN, *OTHERS):
        weights = torch.rand(groups, draws, n) + 0.2
        weights[:, ::2, -1] = 0.0
        parts.append(weights)
    return torch.cat(parts, -1).double()


def weights_of(seen):
    return seen[..., FEATURES:].split((OWN, *OTHERS), -1)


def moves(seen, size):
    """One available action of each draw, as vectors with a single 1."""
    index = torch.randint(size - 1, seen.shape[:2])
    return torch.nn.functional.one_hot(index, size).double()


def gradients(loss, network):
    grads = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([grad.flatten() for grad in grads])


def agree(loss, expected, network):
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert torch.allclose(gradients(loss, network), gradients(expected, network), atol=1e-10)


def enumerated(model, guide):
    elbo = TraceEnum_ELBO(max_plate_nesting=2).differentiable_loss
    guide = pyro.infer.config_enumerate(guide, "parallel")
    return elbo(model, guide) / DRAWS


def choice(p):
    return dist.Categorical(p, validate_args=False)


def answer(agent, seen, other):
    """π(· | s, o) by an index o that may be enumerated."""
    p = agent.policy_law(seen).p
    p = p.expand(*p.shape[:2], agent.o, agent.x)
    rows = torch.arange(GROUPS)[:, None], torch.arange(DRAWS)
    return p[(*rows, other)]


def q(agent, seen, other, own):
    rows = torch.arange(GROUPS)[:, None], torch.arange(DRAWS)
    return agent.table("critic", seen)[(*rows, other, own)]


def log_ratio(p, u):
    """log p / u, and 0 where both are 0."""
    gone = u == 0
    return ((p + gone) / (u + gone)).log()


def expanded(laws):
    """Joint probabilities of the others, by a product of products."""
    p = [each.p for each in laws]
    pairs = product(*(range(n) for n in OTHERS))
    return torch.stack([p[0][..., a] * p[1][..., b] for a, b in pairs], -1)


@both
def test_the_policy_is_fitted_to_the_best(conditional):
    """−Σ π* log π / u, with π* ∝ u exp(Q / α) written out."""
    agent, seen = learner(conditional=conditional), sight()
    prior = weights_of(seen)[0]
    u = (prior / prior.sum(-1, keepdim=True))[:, :, None]
    rho = expanded(agent.model_laws(seen)).detach()[..., None]
    table = agent.table("critic", seen).detach()
    q = table if conditional else (rho * table).sum(2, keepdim=True)
    best = u * (q / ALPHA).exp() / (u * (q / ALPHA).exp()).sum(-1, keepdim=True)
    expected = -(rho * best * log_ratio(agent.policy_law(seen).p, u)).sum() / DRAWS
    agree(agent.policy_loss(seen, ALPHA), expected, agent.networks["policy"])


@both
def test_the_best_policy_is_that_of_the_elbo(conditional):
    """Where the loss has no slope, that of a program with enumerated sites has none (Eq. 8)."""
    agent, seen = learner(conditional=conditional), sight()
    prior, table = weights_of(seen)[0], agent.table("critic", seen).detach()
    rho = expanded(agent.model_laws(seen)).detach()
    q_of = table if conditional else (rho[..., None] * table).sum(2, keepdim=True)
    outputs = (q_of / ALPHA).requires_grad_()
    agent.table = lambda name, _: outputs if name == "policy" else table

    def model():
        with Plates(seen):
            other = pyro.sample("other", choice(rho))
            own = pyro.sample("own", choice(prior))
            pyro.factor("optimal", q(agent, seen, other, own) / ALPHA)

    def guide():
        with Plates(seen):
            other = pyro.sample("other", choice(rho))
            pyro.sample("own", choice(answer(agent, seen, other)))

    for loss in (agent.policy_loss(seen, ALPHA), enumerated(model, guide)):
        assert torch.autograd.grad(loss, outputs)[0].abs().max() < 1e-12


def test_what_a_policy_has_ruled_out_it_may_take_up_again():
    """If the critic says so; by the ELBO's gradient, with its factor π(x), it would not."""
    agent, seen = learner(), sight()
    with torch.no_grad():
        agent.networks["policy"].biases[-1][..., 0] = -40.0
        for network in (agent.networks["critic"].weights, agent.networks["critic"].biases):
            network[-1].zero_()
        agent.networks["critic"].biases[-1].unflatten(-1, (agent.o, OWN))[..., 0] = 10.0
    assert agent.probabilities(seen)[..., 0].max() < 1e-12
    for _ in range(1000):
        agent.improve("policy", lambda: agent.policy_loss(seen, ALPHA))
    assert agent.probabilities(seen)[..., 0].min() > 0.99


@pytest.mark.parametrize("kind", [FiniteLearner, FiniteKnowing])
def test_so_may_an_opponent_model(kind):
    """Of the first action of the second of the others."""
    agent, seen = learner(kind), sight()
    name = "critic" if kind is FiniteLearner else "their critic"
    with torch.no_grad():
        agent.networks["model"].biases[-1][..., OTHERS[0]] = -40.0
        for part in (agent.networks[name].weights, agent.networks[name].biases):
            part[-1].zero_()
        several = [] if kind is FiniteLearner else [len(OTHERS)]
        table = agent.networks[name].biases[-1].unflatten(-1, (*several, *OTHERS, OWN))
        table[..., 0, :] = 20.0
    assert agent.model_laws(seen)[1].p[..., 0].max() < 1e-12

    def loss():
        known = isinstance(agent, FiniteKnowing)
        return agent.their_loss(seen, BETA) if known else agent.model_loss(seen, ALPHA, BETA)

    for _ in range(1000):
        agent.improve("model", loss)
    assert agent.model_laws(seen)[1].p[..., 0].min() > 0.99


@both
def test_the_opponent_model_is_fitted_to_the_best(conditional):
    """Amid what the others of the others do; sums written out action by action."""
    agent, seen = learner(conditional=conditional), sight()
    laws, pi = agent.model_laws(seen), agent.policy_law(seen).p.detach()
    own = weights_of(seen)[0]
    own = (own / own.sum(-1, keepdim=True))[:, :, None]
    value = (pi * (agent.table("critic", seen).detach() - ALPHA * log_ratio(pi, own))).sum(-1)
    expected, value = 0.0, value.unflatten(-1, OTHERS)
    for j, (each, tied, weights) in enumerate(
        zip(laws, agent.model_laws(seen, "prior"), weights_of(seen)[1:], strict=True)
    ):
        scores = torch.zeros_like(each.p)
        for o, b in product(range(OTHERS[j]), range(OTHERS[1 - j])):
            at = (o, b) if j == 0 else (b, o)
            scores[..., o] += laws[1 - j].p.detach()[..., b] * value[..., *at]
        best = tied.p.detach() * (scores / BETA).exp()
        best = best / best.sum(-1, keepdim=True)
        u = weights / weights.sum(-1, keepdim=True)
        expected = expected - (best * log_ratio(each.p, u)).sum()
    found = agent.model_loss(seen, ALPHA, BETA)
    agree(found, expected / DRAWS, agent.networks["model"])


@both
def test_the_best_opponent_model_is_that_of_the_elbo(conditional):
    """Where it comes to rest; terms of o count α'/α times (Eq. 5 with the agent's own critic)."""
    agent, seen = learner(conditional=conditional), sight()
    prior, outputs = weights_of(seen)[0], torch.randn(GROUPS, DRAWS, sum(OTHERS)).double()
    outputs.requires_grad_()
    agent.networks["model"].forward = lambda _: outputs

    def model():
        with Plates(seen):
            with poutine.scale(scale=BETA / ALPHA):
                lately = expanded(agent.model_laws(seen, "prior")).detach()
                other = pyro.sample("other", choice(lately))
            own = pyro.sample("own", choice(prior))
            pyro.factor("optimal", q(agent, seen, other, own).detach() / ALPHA)

    def guide():
        with Plates(seen):
            with poutine.scale(scale=BETA / ALPHA):
                other = pyro.sample("other", choice(expanded(agent.model_laws(seen))))
            pyro.sample("own", choice(answer(agent, seen, other).detach()))

    def slope(loss):
        return torch.autograd.grad(loss, outputs)[0]

    assert slope(enumerated(model, guide)).abs().max() > 1e-3
    for _ in range(2000):
        found = slope(agent.model_loss(seen, ALPHA, BETA))
        with torch.no_grad():
            outputs -= DRAWS * found
    assert found.abs().max() < 1e-10
    assert slope(enumerated(model, guide)).abs().max() < 1e-10


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_prior(share):
    """−log of the mixture of P and exploration, up to log u."""
    agent, seen = learner(), sight()
    chosen = [moves(seen, n) for n in OTHERS]
    expected = 0.0
    for each, weights, done in zip(
        agent.model_laws(seen, "prior"), weights_of(seen)[1:], chosen, strict=True
    ):
        u = weights / weights.sum(-1, keepdim=True)
        mixed = (1 - share) * each.p + share * u
        expected = expected - ((mixed * done).sum(-1) / (u * done).sum(-1)).log().sum()
    found = agent.prior_loss(seen, torch.cat(chosen, -1), share)
    agree(found, expected / DRAWS, agent.networks["prior"])


def test_the_critic():
    """Every joint action has an output of its own, the agent's own action last."""
    agent, seen = learner(), sight()
    own, one, two = (moves(seen, n) for n in (OWN, *OTHERS))
    drawn = {"seen": seen, "own": own, "other": torch.cat([one, two], -1)}
    table = agent.table("critic", seen).unflatten(-2, OTHERS)
    expected = torch.einsum("gbijx,gbi,gbj,gbx->gb", table, one, two, own)
    rows = torch.arange(GROUPS)[:, None], torch.arange(DRAWS)
    found = agent.table("critic", seen).flatten(-2)[(*rows, agent.done(drawn))]
    assert torch.equal(found, expected)
    wanted, before = torch.randn(GROUPS, DRAWS).double(), expected.detach()
    for _ in range(200):
        agent.fit("critic", drawn, wanted)
    after = agent.table("critic", seen).flatten(-2)[(*rows, agent.done(drawn))]
    assert (after - wanted).abs().max() < 0.1 < (before - wanted).abs().max()


@both
def test_the_known_aims_of_others(conditional):
    """Everybody else responds to what all others do; sums written out action by action."""
    agent, seen = learner(FiniteKnowing, conditional=conditional), sight()
    laws, pi = agent.model_laws(seen), agent.policy_law(seen).p
    pi = pi.expand(GROUPS, DRAWS, agent.o, OWN).unflatten(-2, OTHERS).detach()
    tables = agent.table("their critic", seen).unflatten(-2, OTHERS).detach()
    amid = expanded(laws).detach().unflatten(-1, OTHERS)
    expected = 0.0
    for j, (each, weights) in enumerate(zip(laws, weights_of(seen)[1:], strict=True)):
        u = weights / weights.sum(-1, keepdim=True)
        scores = torch.zeros_like(each.p)
        for o, (a, b, x) in product(range(OTHERS[j]), product(*(range(n) for n in (*OTHERS, OWN)))):
            at = (o, b) if j == 0 else (a, o)
            scores[..., o] += amid[..., a, b] * pi[..., a, b, x] * tables[:, :, j, *at, x]
        best = u * (scores / BETA).exp()
        best = best / best.sum(-1, keepdim=True)
        expected = expected - (best * log_ratio(each.p, u)).sum()
    agree(agent.their_loss(seen, BETA), expected / DRAWS, agent.networks["model"])


def test_the_inferred_aims_of_others():
    """The likelihood of what they did, with the normaliser summed over what each could do."""
    agent, seen = learner(FiniteGuessing), sight()
    own, one, two = (moves(seen, n) for n in (OWN, *OTHERS))
    drawn = {"seen": seen, "own": own, "other": torch.cat([one, two], -1)}
    tables = agent.table("their rewards", seen).unflatten(-2, OTHERS) / BETA
    expected = 0.0
    for j, fixed in enumerate((two, one)):
        table = tables[:, :, j] if j == 0 else tables[:, :, j].transpose(2, 3)
        scores = torch.einsum("gbijx,gbj,gbx->gbi", table, fixed, own)
        weights = weights_of(seen)[1 + j]
        u = weights / weights.sum(-1, keepdim=True)
        p = u * scores.exp() / (u * scores.exp()).sum(-1, keepdim=True)
        done = (one, two)[j]
        mixed = 0.9 * p + 0.1 * u
        expected = expected - ((mixed * done).sum(-1) / (u * done).sum(-1)).log().sum()
    found = agent.rewards_loss(drawn, BETA, 0.1)
    agree(found, expected / DRAWS, agent.networks["their rewards"])


def test_exploration_of_the_time():
    """Each with the share of its own episode: a mixture of laws, written out."""
    agent, seen = learner(FiniteGuessing), sight()
    drawn = {"seen": seen, "own": moves(seen, OWN)}
    drawn["other"] = torch.cat([moves(seen, n) for n in OTHERS], -1)
    drawn["episode"] = torch.randint(4, (GROUPS, DRAWS, 1)).float()
    shares = torch.tensor([1.0, 0.7, 0.2, 0.0]).double()
    agent.plan = FinitePlan(Settings(episodes=4), float, float, lambda k: shares[k].item())
    share = agent.share(drawn)
    assert torch.equal(share, shares[drawn["episode"][..., 0].long()])
    ratio = agent.explained(drawn, BETA) / BETA
    expected = -((1 - share[..., None]) * ratio.exp() + share[..., None]).log().sum() / DRAWS
    agree(agent.rewards_loss(drawn, BETA, share), expected, agent.networks["their rewards"])
    agent, expected = learner(), 0.0
    parts = drawn["other"].split(OTHERS, -1)
    for each, done in zip(agent.model_laws(seen, "prior"), parts, strict=True):
        p = (each.ratio * done).sum(-1).exp()
        expected = expected - ((1 - share) * p + share).log().sum() / DRAWS
    agree(agent.prior_loss(seen, drawn["other"], share), expected, agent.networks["prior"])


def test_all_exploration():
    """It says nothing of what is meant: a slope of 0, and not none."""
    ratio = torch.tensor([-3.0, 2.0], requires_grad=True)
    found = explored(ratio, 1)
    assert found.tolist() == [0.0, 0.0]
    assert torch.autograd.grad(found.sum(), ratio)[0].tolist() == [0.0, 0.0]
    assert torch.equal(explored(ratio, 0), ratio)


@pytest.mark.parametrize("opponents", FINITE)
@pytest.mark.parametrize("exploration", [1.0, lambda k: 1 - k / 3])
def test_exploration_from_all_on(opponents, exploration):
    options = {"episodes": 3, "steps": 5, "opponents": opponents}
    found = mai(StagHunt(), exploration=exploration, **options)
    assert all(torch.isfinite(table).all() for table in found.tables().values())


def test_exploration_that_ends(monkeypatch):
    """What was done while they explored is not taken for what is meant: both defect.

    Of what is drawn lately three in five are of that time.
    """
    said, prior_loss = [], FiniteLearner.prior_loss

    def watched(agent, seen, *args):
        said.append(agent.model_laws(seen)[0].p[..., 1].min().item())
        return prior_loss(agent, seen, *args)

    monkeypatch.setattr(FiniteLearner, "prior_loss", watched)
    found = mai(PrisonersDilemma(), episodes=800, exploration=lambda k: 0.9 if k < 600 else 0.0)
    assert all(table[..., 1].min() > 0.95 for table in found.tables().values())
    assert said[-1] > 0.95


def test_a_memory_of_other_parts():
    one, two = Replay(2, 5, {"seen": 1, "episode": 1}), Replay(2, 5, {"seen": 1})
    with pytest.raises(vsg.GameError, match="a step was remembered as seen, and is as seen, epi"):
        one.load_state_dict(two.state_dict())


@both
def test_what_is_expected_next(conditional):
    """E[Q̄ − α log π/u − α' log ρ/P], by sums over all that may be drawn."""
    agent, seen = learner(conditional=conditional), sight()
    rho, lately = (expanded(agent.model_laws(seen, name)) for name in ("model", "prior"))
    pi, u = agent.policy_law(seen).p, weights_of(seen)[0]
    u = (u / u.sum(-1, keepdim=True))[..., None, :]
    cost = (
        agent.table("target", seen)
        - ALPHA * (pi / u).log()
        - BETA * (rho / lately).log()[..., None]
    )
    expected = (rho[..., None] * pi * cost).nansum((-2, -1))
    assert torch.allclose(agent.expected(seen, ALPHA, BETA), expected)


@pytest.mark.parametrize("kind", FINITE.values(), ids=FINITE)
@both
def test_what_is_not_available_is_not_done(kind, conditional):
    agent, seen = learner(kind, conditional=conditional), sight()
    p = agent.probabilities(seen)
    assert torch.allclose(p.sum(-1), torch.ones(()).double())
    assert torch.equal(p == 0, weights_of(seen)[0] == 0)
    agent.plan = FinitePlan(Settings(), float, float, lambda episode: 1.0)
    for _ in range(20):
        done = agent.explore(seen, 0)
        assert bool((weights_of(seen)[0][done.bool()] > 0).all())


@both
def test_the_policy_comes_to_the_soft_best_response(conditional):
    """Of a critic that stands still: u exp(Q/α) (Prop. 5.2), or of the mean of Q under ρ."""
    agent, seen = learner(conditional=conditional, groups=GROUPS), sight(draws=2)
    for _ in range(2000):
        agent.improve("policy", lambda: agent.policy_loss(seen, ALPHA))
    q = agent.table("critic", seen)
    rho = agent.together(agent.model_laws(seen)).p
    scores = q if conditional else (rho[..., None] * q).sum(-2, keepdim=True)
    expected = (scores / ALPHA + weights_of(seen)[0][..., None, :].log()).softmax(-1)
    off = (agent.policy_law(seen).p - expected).abs().amax(-1)
    asked = rho > 0 if conditional else torch.ones_like(off).bool()  # never told of the others
    assert off[asked].max() < 2e-3


def test_models_come_to_eq_5():
    """Each ρ_j is u_j exp(Q^j/α') amid the rest."""
    agent, seen = learner(FiniteKnowing), sight(draws=2)
    for step in range(2000):
        agent.optimisers["model"].param_groups[0]["lr"] = 1e-2 * (1 - step / 2000)
        agent.improve("model", lambda: agent.their_loss(seen, BETA))
    scores = agent.scores("their critic", seen)
    for each, q, weights in zip(agent.model_laws(seen), scores, weights_of(seen)[1:], strict=True):
        assert torch.allclose(each.p, (q / BETA + weights.log()).softmax(-1), atol=1e-3)


def test_learners_share_nothing():
    """What the others of a group see has no effect on a learner."""
    ends = []
    for scale in (1.0, 3.0):
        agent, seen = learner(FiniteKnowing), sight()
        seen[1:, :, :FEATURES] *= scale
        for _ in range(3):
            agent.improve("policy", lambda agent=agent, seen=seen: agent.policy_loss(seen, ALPHA))
            agent.improve("model", lambda agent=agent, seen=seen: agent.their_loss(seen, BETA))
        ends.append([x.detach().clone() for x in agent.networks["model"].parameters()])
    assert all(torch.allclose(one[0], two[0], atol=1e-12) for one, two in zip(*ends, strict=True))
    assert any(not torch.allclose(one[1], two[1]) for one, two in zip(*ends, strict=True))


def test_a_law_over_a_prior():
    outputs, weights = torch.randn(4).double(), torch.tensor([1.0, 0.0, 2.0, 1.0]).double()
    found = law(outputs, weights)
    expected = weights * outputs.exp() / (weights * outputs.exp()).sum()
    assert torch.allclose(found.p, expected) and torch.isfinite(found.ratio).all()
    assert law(outputs.requires_grad_(), weights).p.sum().grad_fn is not None


@pytest.mark.parametrize("opponents", FINITE)
@both
def test_every_kind_runs(opponents, conditional):
    """Three agents, and a discount."""
    game = Congestion(n_agents=3, facilities=2)
    found = mai(game, episodes=2, steps=5, plays=2, opponents=opponents, conditional=conditional)
    assert found.rewards.shape == (2, 2, 3)
    assert torch.allclose(found.tables(1)["agent2"].sum(-1), torch.ones(2).double())
    assert found.certify(play=1).nash_gap > 0
    action = found.policies["agent1"](torch.eye(8)[:2].clamp(min=0.5))
    assert action.sum(-1).tolist() == [1.0, 1.0]


def cooled(tau, episodes):
    return Cooling(first=1.0, last=tau, rate=20 / episodes)


def gaps(found):
    return torch.tensor([found.certify(k).nash_gap for k in range(found.rewards.shape[1])])


@pytest.mark.parametrize("opponents", ["observed", "known"])
def test_a_stag_hunt(opponents):
    found = mai(
        StagHunt(), episodes=50, steps=16, plays=2, opponents=opponents, temperature=cooled(0.1, 50)
    )
    assert vsg.nash(StagHunt(), temperature=0.1).certificate.nash_gap < 1e-6
    assert gaps(found).max() < 0.05


def test_congestion():
    """Values are hundreds of times what the choice is worth."""
    game = Congestion(n_agents=2, facilities=2, discount=0.9)
    exact = vsg.nash(game, temperature=0.2).certificate.nash_gap
    found = mai(
        game,
        episodes=60,
        steps=20,
        plays=2,
        scale=0.1,
        temperature=lambda k: cooled(0.2, 60)(k) / 10,
    )
    assert (gaps(found) - exact).abs().max() < 0.05


@pytest.mark.slow
def test_the_bundled_congestion():
    """Four agents, 256 joint actions, γ = 0.99; a wrong crowd costs hundreds.

    Most experiments end within 0.05 of an equilibrium, not all.
    """
    found = mai(
        Congestion(),
        episodes=1000,
        steps=10,
        plays=3,
        scale=0.01,
        hidden=(32,),
        temperature=Cooling(first=0.2, last=0.002, rate=0.02),
    )
    assert gaps(found).median() < 0.05


def test_soccer():
    """Who takes the other for a partner lets it score; who knows better does nearly as `nash`."""
    game = Soccer(2, 2)
    exact = vsg.nash(game, temperature=0.3).certificate.nash_gap

    def off(opponents, episodes, plays):
        schedule = cooled(0.3, episodes)
        options = {"episodes": episodes, "steps": 8, "plays": plays, "learning_rate": 1e-2}
        return gaps(mai(game, opponents=opponents, temperature=schedule, **options)) - exact

    assert off("known", 200, 2).abs().max() < 0.1 < off("own", 100, 1).min()


def test_a_horizon_is_seen():
    """A policy for each time, by a vector that says it; after the last nothing is expected."""
    game = vsg.game.Limited(StagHunt(), 3)
    found = mai(game, episodes=2, plays=2)
    assert found.tables()["row"].shape == (3, 2, 2)
    assert found.certify().nash_gap > 0


def test_a_run_goes_on(tmp_path):
    """From a checkpoint, to the very numbers."""
    options = {"episodes": 6, "steps": 8, "plays": 2, "seed": 3, "checkpoint": tmp_path / "run.pt"}
    whole = mai(StagHunt(), **{**options, "checkpoint": None})

    class Stop(Exception):
        pass

    from vsg_ppl import training

    play = training._Run.play

    def until(run):
        if run.episode == 3:
            raise Stop
        play(run)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training._Run, "play", until)
        mai(StagHunt(), **options, every=0.0)
    found = mai(StagHunt(), **options)
    assert torch.equal(found.rewards, whole.rewards)
    for agent in ("row", "col"):
        assert torch.equal(found.tables(1)[agent], whole.tables(1)[agent])


class Mixed:
    """One chooses a number, one of two actions."""

    agents = ("ann", "bob")
    horizon = 1

    def initial(self):
        return torch.tensor(0)

    def step(self, state):
        x = vsg.act("ann", dist.Uniform(0.0, 1.0))
        k = vsg.act("bob", dist.Categorical(torch.ones(2)))
        vsg.optimality("ann", x * k)
        vsg.optimality("bob", x - k)
        return state


class Signalled(StagHunt):
    def step(self, weather):
        vsg.signal("sun", dist.Categorical(torch.ones(2)))
        return super().step(weather)


@pytest.mark.parametrize(
    ("game", "options", "words"),
    [
        (Mixed(), {}, "'bob' of Mixed has finite actions, and 'ann' has not"),
        (Signalled(), {"steps": 2}, "has a public signal"),
        (
            Congestion(n_agents=7),
            {"steps": 2},
            f"16,384 joint actions, and critics are for {LARGEST:,}",
        ),
        (Chicken(), {"start": 0.5}, "has finite actions, and the start is 0.5"),
        (Chicken(), {"exploration": -0.1}, "the exploration is -0.1"),
        (Chicken(), {"temperature": lambda k: 0.0}, "the temperature is 0.0 in episode 1"),
        (Chicken(), {"opponents": "friends"}, "opponents are 'friends'"),
        (Soccer(2, 2), {"start": "uniform", "steps": 20, "plays": 20}, "is not available"),
    ],
)
def test_what_does_not_fit(game, options, words):
    with pytest.raises(vsg.GameError, match=words):
        mai(game, **{"episodes": 1, **options})


def test_what_cannot_be_certified():
    found = mai(Chicken(), episodes=2)
    with pytest.raises(vsg.GameError, match="there is no experiment 1"):
        found.certify(play=1)
    from vsg_ppl.models import Differential

    with pytest.raises(vsg.GameError, match="not probabilities of finite actions"):
        mai(Differential(), episodes=1).certify()
