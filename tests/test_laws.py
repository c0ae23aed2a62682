"""One value, many roads: the laws of the ELBO, of best responses and of certificates."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam

import vsg_ppl as vsg
from tests.brute_response import BruteResponse
from tests.random_games import games
from tests.random_policies import Case
from vsg_ppl import models
from vsg_ppl.best_response import respond
from vsg_ppl.guides import FixedPolicy

SEEDS = st.integers(0, 10**6)
TEMPERATURES = st.floats(0.1, 3.0)
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def tolerance(value):
    return 1e-10 * (1 + float(value.detach().abs()))


FEATURES = {
    "three agents": lambda spec: len(spec.agents) == 3,
    "two sites": lambda spec: spec.variables.get("ann_too", 1) > 1 and spec.variables["ann"] > 1,
    "an idle agent": lambda spec: spec.idle is not None and spec.horizon > 1,
    "a signal": lambda spec: spec.variables.get("omen") == 2,
    "a signal that reads the time": lambda spec: any(
        kind == "signal" and "t" in entry.parents and spec.horizon > 1
        for kind, entry, _ in spec.order
    ),
    "zero probabilities": lambda spec: spec.zeros,
    "no end": lambda spec: spec.horizon is None,
    "both ends": lambda spec: spec.horizon == 3 and spec.discount == 0.9,
    "time": lambda spec: any("t" in entry.parents for entry in spec.following),
    "negative states": lambda spec: -2 in spec.lows,
    "chance that reads actions": lambda spec: any(
        kind == "chance"
        and set(entry.parents) & set(spec.agents)
        and spec.variables[entry.name] > 1
        for kind, entry, _ in spec.order
    ),
    "chance that reads chance": lambda spec: any("luck0" in e.parents for k, e, _ in spec.order),
    "a reward that reads chance": lambda spec: any("luck0" in e.parents for _, e in spec.rewards),
    "Bernoulli": lambda spec: any(detail == "bernoulli" for _, _, detail in spec.order),
    **{name: lambda spec, n=name: spec.structure == n for name in ("dict", "named", "tensor")},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_random_programs_have_every_feature(feature):
    only = settings(phases=[Phase.generate], max_examples=500, suppress_health_check=SLOW)
    find(games(), lambda game: FEATURES[feature](game.spec), settings=only)  # or NoSuchExample


# --- Law 1: the ELBO ---------------------------------------------------------------------------


@settings(max_examples=200, suppress_health_check=SLOW)
@given(game=games(outcomes=16, horizons=(1, 2, 3)), temperature=TEMPERATURES, seed=SEEDS)
def test_markov_elbo_is_the_sum_over_all_plays(game, temperature, seed):
    """MarkovELBO = Σ q (log p − log q) = Eq. 3; values and gradients, both factorisations."""
    for conditional in (False, True):
        case = Case(game, seed, conditional=conditional)
        found = vsg.MarkovELBO().elbo(*case.pair(temperature))
        wanted = case.brute.elbo(case.agent, *case.functions, temperature)
        printed = case.brute.equation_3(case.agent, *case.functions, temperature, game.horizon)
        assert abs(found - wanted) <= tolerance(wanted)
        assert abs(printed - wanted) <= tolerance(wanted)
        pairs = zip(case.gradients(found), case.gradients(wanted), strict=True)
        for one, other in pairs:
            assert (one - other).abs().max() <= tolerance(wanted)


@settings(max_examples=60, suppress_health_check=SLOW)
@given(game=games(outcomes=8, horizons=(None,), states=3), temperature=TEMPERATURES, seed=SEEDS)
def test_markov_elbo_of_an_endless_game_is_equation_3(game, temperature, seed):
    """0.3^25 of the sum is left out: 8e-14."""
    case = Case(game, seed, conditional=seed % 2 == 1)
    found = vsg.MarkovELBO().elbo(*case.pair(temperature))
    wanted = case.brute.equation_3(case.agent, *case.functions, temperature, 25)
    assert abs(found - wanted) <= tolerance(wanted)
    for one, other in zip(case.gradients(found), case.gradients(wanted), strict=True):
        assert (one - other).abs().max() <= tolerance(wanted)


def check_sampled(case, temperature, batches=30, particles=400):
    """`Trace_ELBO` within five standard errors of the exact value, and along random gradients."""
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    model, guide = case.pair(temperature)
    exact = vsg.MarkovELBO(case.table).elbo(model, guide)
    directions = [torch.randn_like(p) for p in case.parameters]
    slopes = [(g * d).sum() for g, d in zip(case.gradients(exact), directions, strict=True)]
    wanted = torch.stack([exact.detach(), *slopes])
    loss = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=0)
    rows = []
    for _ in range(batches):
        for parameter in case.parameters:
            parameter.grad = None
        value = -loss.loss_and_grads(model, guide)
        along = [
            torch.tensor(0.0) if p.grad is None else -(p.grad * d).sum()
            for p, d in zip(case.parameters, directions, strict=True)
        ]
        rows.append(torch.tensor([value, *along], dtype=torch.float64))
    sample = torch.stack(rows)
    error = sample.std(0) / batches**0.5
    assert ((sample.mean(0) - wanted).abs() <= 5 * error + 1e-9 * (1 + wanted.abs())).all()
    assert error.max() < 0.2 * (1 + wanted.abs().max())  # or it would say nothing


@settings(max_examples=20, phases=[Phase.generate], suppress_health_check=SLOW)
@given(game=games(), temperature=st.floats(0.3, 3.0), seed=SEEDS)
def test_pyro_samples_the_same_elbo(game, temperature, seed):
    assume(max(game.spec.variables[name] for name in game.agents) > 1)
    check_sampled(Case(game, seed, conditional=seed % 2 == 1), temperature)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(
    "game",
    [
        models.Hedge(),
        models.StagHunt(discount=0.6),
        models.ThreeAgents(),
        models.Soccer(rows=2, columns=2, discount=0.5),
        models.Thermostat(horizon=5),
    ],
    ids=lambda game: type(game).__name__,
)
def test_pyro_samples_the_same_elbo_of_bundled_games(game, conditional):
    check_sampled(Case(game, 1, conditional=conditional), temperature=1.5)


# --- Law 2: best responses -----------------------------------------------------------------------

RESPONSES = {
    "one shot": (models.Hedge(), 0.3),
    "horizon": (models.Thermostat(horizon=4), 4.0),
    "discount": (models.StagHunt(), 0.7),
    "priors with zeros": (models.Soccer(rows=2, columns=2, discount=0.7), 0.4),
}


def against(game, seed, conditional):
    """A case whose opponent model is the others' policies, so that Prop. 5.2 is the optimum."""
    case = Case(game, seed, conditional=conditional)
    for j, policy in case.others.items():
        case.opponents[j] = FixedPolicy(case.table, j, policy.log_table().detach().exp())
        case.others[j] = case.opponents[j]
    return case


def softmax_response(case, temperature, conditional):
    laws = [
        case.others[j].log_table().exp()[None] if j != case.agent else log_prior.exp()
        for j, log_prior in zip(case.table.agents, case.table.log_priors, strict=True)
    ]
    number = case.table.number(case.agent)
    policy, _ = respond(case.table, laws, number, temperature, conditional=conditional)
    return policy[0]


def visited(case):
    """Whether states occur, as a mask over (H, S)."""
    if case.table.reachable is None:
        return torch.ones(case.table.horizon or 1, len(case.table.states), dtype=torch.bool)
    return case.table.reachable


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", RESPONSES)
def test_svi_climbs_to_the_softmax_response(name, conditional):
    """SVI's optimum is Prop. 5.2's softmax(Q/τ): the ELBO is the inference of a best response."""
    game, temperature = RESPONSES[name]
    case = against(game, 3, conditional)
    wanted = softmax_response(case, temperature, conditional)
    svi = SVI(
        *case.pair(temperature),
        ClippedAdam({"lr": 0.3, "lrd": 0.995, "clip_norm": 1e6}),
        vsg.MarkovELBO(case.table),
    )
    for _ in range(1000):
        svi.step()
    found = case.policy.log_table().detach().exp()
    off = (found - wanted).abs().flatten(2).amax(-1)
    assert off[visited(case)].max() < 1e-3


@pytest.mark.parametrize("name", ["one shot", "horizon", "discount"])
def test_natural_gradient_stops_at_the_softmax_response(name):
    """Natural-gradient steps of the exact ELBO: the Fisher matrix is that of the guide's actions.

    It is d(s) (diag π − π π'), with d(s) the discounted visits of s; half steps contract to the
    fixed point of Eq. 4.
    """
    game, temperature = RESPONSES[name]
    case = against(game, 5, conditional=False)
    wanted = softmax_response(case, temperature, conditional=False)
    model, guide = case.pair(temperature)
    elbo = vsg.MarkovELBO(case.table)
    (logits,) = case.policy.parameters()
    for _ in range(50):
        (gradient,) = torch.autograd.grad(elbo.elbo(model, guide), [logits])
        policy = case.policy.log_table().detach().exp()
        fisher = torch.diag_embed(policy) - policy[..., :, None] * policy[..., None, :]
        step = (torch.linalg.pinv(fisher, hermitian=True) @ gradient[..., None])[..., 0]
        visits = discounted_visits(case)
        with torch.no_grad():
            logits += 0.5 * torch.where(visits > 0, step / visits, 0.0)
    off = (case.policy.log_table().detach().exp() - wanted).abs().amax(-1)
    assert off[discounted_visits(case)[..., 0] > 0].max() < 1e-9


def discounted_visits(case):
    """γ^t P(s_t = s), (H, S, 1), or Σ_t γ^t P(s_t = s), (1, S, 1), from the oracle."""
    everyone = {**case.functions[2], case.agent: case.reader.read(case.policy)}
    visits = torch.zeros(case.table.horizon or 1, len(case.table.states), 1, dtype=torch.float64)
    for (place, t), p in case.brute.visits(everyone, case.table.horizon or 150).items():
        now = t if case.table.horizon else 0
        visits[now, case.reader.rows[place]] += case.table.discount**t * p
    return visits


# --- Law 7: certificates -------------------------------------------------------------------------

TINY = {"outcomes": 12, "horizons": (1, 2, None), "states": 2}


def hand_over(how, case, policies):
    """The same policies as library programs, as tables, or as Pyro programs of a user."""
    if how == "guides":
        return policies
    tables = {j: policy.log_table().detach().exp() for j, policy in policies.items()}
    if how == "fixed":
        return {j: FixedPolicy(case.table, j, table) for j, table in tables.items()}
    if how == "tables":
        endless = case.table.horizon is None
        return {j: table[0] if endless else table for j, table in tables.items()}

    def program(agent, table):
        actions = case.table.actions[case.table.number(agent)]

        def policy(state, t):
            now = t if case.table.horizon is not None else 0
            law = table[now, case.table.states.index(state)]
            number = law.reshape(*law.shape[:-1], *actions.sizes)
            if len(actions.sizes) == 1:
                pyro.sample(actions.sites[0], dist.Categorical(number))
                return
            first = number.sum(-1)
            one = pyro.sample(actions.sites[0], dist.Categorical(first))
            rest = torch.stack([number[..., k, :] for k in range(actions.sizes[0])])
            rest = sum((one == k)[..., None] * rest[k] for k in range(actions.sizes[0]))
            # an action that is never taken first needs some second, too
            rest = rest + (rest.sum(-1, keepdim=True) == 0)
            pyro.sample(actions.sites[1], dist.Categorical(rest))

        return policy

    return {j: program(j, table) for j, table in tables.items()}


@settings(max_examples=60, suppress_health_check=SLOW)
@given(game=games(**TINY), seed=SEEDS, how=st.sampled_from(["guides", "fixed", "tables", "users"]))
def test_certificate_is_the_gain_of_the_best_deterministic_policy(game, seed, how):
    """Against all deterministic policies, one by one; however the policies are handed over."""
    case = Case(game, seed)
    policies = {case.agent: case.policy, **case.others}
    functions = {case.agent: case.functions[0], **case.functions[2]}
    found = vsg.certify(game, hand_over(how, case, policies), temperature=0.5)
    starts, worst = {}, {}
    for agent in game.agents:
        response = BruteResponse(case.brute, agent, functions)
        assume(response.count() <= 300)
        starts[agent], gains = response.gains()
        worst[agent] = max(gains.values())
        value = response.value()
        assert found.values[agent] == pytest.approx(value, abs=1e-10)
        assert found.per_agent[agent] == pytest.approx(starts[agent], abs=1e-10)
    assert found.nash_gap == pytest.approx(max(starts.values()), abs=1e-10)
    assert found.nash_gap_worst_state == pytest.approx(max(worst.values()), abs=1e-10)


@pytest.mark.parametrize("game", [models.StagHunt(), models.Soccer(2, 3)], ids=["stag", "soccer"])
def test_certificate_of_a_game_is_that_of_its_table(game):
    case = Case(game, 2)
    policies = {case.agent: case.policy, **case.others}
    assert vsg.certify(game, policies) == vsg.certify(case.table, policies)


def test_certificate_of_a_stationary_policy_is_that_of_its_expansion_in_time():
    game = models.GridGame(discount=0.8)
    limited = _WithHorizon(game, 4)
    table = vsg.tabulate(limited)
    generator = torch.Generator().manual_seed(0)
    for expand in (False, True):
        policies = {}
        for agent, size in zip(table.agents, table.sizes, strict=True):
            generator.manual_seed(len(policies))
            law = torch.rand(len(table.states), size, dtype=torch.float64, generator=generator)
            law = law / law.sum(-1, keepdim=True)
            policies[agent] = law.expand(4, -1, -1) if expand else law
        certificate = vsg.certify(limited, policies)
        if not expand:
            short = certificate
    assert certificate.nash_gap == pytest.approx(short.nash_gap, abs=1e-12)
    assert certificate.values == pytest.approx(short.values, abs=1e-12)
    assert short.nash_gap > 0.1


class _WithHorizon:
    def __init__(self, game, horizon):
        self.agents, self.initial, self.step = game.agents, game.initial, game.step
        self.discount, self.horizon = game.discount, horizon
