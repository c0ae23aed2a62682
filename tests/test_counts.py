"""Ways to spread agents over places, and the law of where chance takes them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vsg_ppl.counts import Counts, rank, ways

FEW, SOME = st.integers(0, 6), st.integers(1, 5)


@given(agents=FEW, places=SOME)
def test_every_way_once(agents, places):
    counts = Counts(agents, places)
    expected = {c for c in product(range(agents + 1), repeat=places) if sum(c) == agents}
    assert {tuple(row) for row in counts.rows.tolist()} == expected
    assert len(counts) == len(expected) == ways(agents, places)
    assert rank(counts.rows).tolist() == list(range(len(counts)))


@given(agents=FEW, places=SOME, more=FEW)
def test_those_of_fewer_agents_come_first(agents, places, more):
    """In the same order, with the missing agents in the last place."""
    few, many = Counts(agents, places).rows, Counts(agents + more, places).rows[:]
    few[:, -1] += more
    assert torch.equal(few, many[: len(few)])


@given(agents=st.integers(0, 4), places=st.integers(1, 3), seed=st.integers(0, 99))
def test_law_of_counts(agents, places, seed):
    """Against all ways in which each agent by name may choose."""
    law = np.random.default_rng(seed).dirichlet(np.ones(places), size=(2, agents))
    counts = Counts(agents, places)
    found = counts.spread(torch.tensor(law).reshape(2, agents, places))
    for b in range(2):
        expected = dict.fromkeys(map(tuple, counts.rows.tolist()), 0.0)
        for chosen in product(range(places), repeat=agents):
            many = tuple(np.bincount(np.array(chosen, dtype=int), minlength=places).tolist())
            expected[many] += np.prod([law[b, k, place] for k, place in enumerate(chosen)])
        np.testing.assert_allclose(found[:, b], list(expected.values()), rtol=0, atol=1e-14)


def test_many_agents():
    """The binomial law of a thousand, by its mean, its variance and its mode."""
    law = torch.tensor([0.3, 0.7]).double().expand(1, 1000, 2)
    found = Counts(1000, 2).spread(law)[:, 0]
    k = torch.arange(1001).double()
    p = float(law[0, 0, 0])
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)
    assert float(found @ k) == pytest.approx(1000 * p, rel=1e-12)
    assert float(found @ (k - 1000 * p) ** 2) == pytest.approx(1000 * p * (1 - p), rel=1e-10)
    assert int(found.argmax()) == 300
