import json
from collections import namedtuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vsg_ppl.errors import GameError
from vsg_ppl.structure import describe, leaves, rebuild, same_structure, tensors, to_json

Pair = namedtuple("Pair", ["x", "y"])  # noqa: PYI024

INTEGERS = st.integers(-(2**40), 2**40)
ATOMS = st.one_of(INTEGERS, INTEGERS.map(torch.tensor), st.booleans(), st.none())
STATES = st.recursive(
    ATOMS,
    lambda part: st.one_of(
        st.tuples(part, part),
        st.lists(part, max_size=3),
        st.builds(Pair, part, part),
        st.dictionaries(st.sampled_from("abc"), part),
    ),
    max_leaves=6,
)


@given(STATES)
def test_rebuilding_from_the_leaves_is_the_same(state):
    parts = leaves(state)
    assert all(part.dtype == torch.long and part.ndim == 0 for part in parts)
    again = rebuild(state, parts)
    assert same_structure(state, again) and same_structure(again, state)
    assert [int(one) for one in leaves(again)] == [int(part) for part in parts]
    assert describe(again) == describe(state)


@given(STATES, STATES)
def test_states_of_one_structure_have_as_many_leaves(one, other):
    if same_structure(one, other):
        assert describe(one) == describe(other)
        assert len(leaves(one)) == len(leaves(other))
    else:
        assert describe(one) != describe(other)


@given(STATES)
def test_labels_become_json(state):
    label = rebuild(state, [int(leaf) for leaf in leaves(state)])
    assert json.loads(json.dumps(to_json(label))) == to_json(label)


def test_rebuild_keeps_types_and_keys():
    state = rebuild(Pair({"b": 0, "a": 0}, [0]), [1, 2, 3])
    assert state == Pair({"b": 1, "a": 2}, [3])
    assert list(state.x) == ["b", "a"] and type(state) is Pair
    assert describe(state) == "Pair({'b': integer, 'a': integer}, [integer])"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ((1, 2), (1, 2, 3)),
        ((1, 2), Pair(1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"b": 1}),
        (1, (1,)),
        (None, 0),
    ],
    ids=str,
)
def test_structures_that_differ(one, other):
    assert not same_structure(one, other) and not same_structure(other, one)
    assert describe(one) != describe(other)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (torch.tensor(0.5), "torch.float32"),
        ((0, torch.tensor(1j)), "torch.complex64"),
        (0.5, "float"),
        ({"x": "red"}, "str"),
    ],
    ids=str,
)
def test_what_is_no_state(state, found):
    with pytest.raises(GameError, match=f"a state is .*integer tensor.*{found}"):
        leaves(state)


@given(STATES)
def test_tensors_of_integers_are_the_leaves(state):
    assert [int(part) for part in tensors(state)] == [int(part) for part in leaves(state)]


def test_tensors_keep_their_numbers():
    parts = tensors(Pair({"b": 0.5, "a": torch.ones(2)}, [None, True]))
    assert [part.tolist() for part in parts] == [0.5, [1.0, 1.0], True]
    with pytest.raises(GameError, match="a state is a tensor, or .*not str"):
        tensors((0.5, "red"))


def test_bytes_and_booleans_are_integers():
    parts = leaves((torch.tensor(True), torch.tensor(7, dtype=torch.uint8), False))
    assert [int(part) for part in parts] == [1, 7, 0]
    assert {part.dtype for part in parts} == {torch.long}


def test_named_tuples_are_alike_by_name_and_fields():
    """A loaded solution makes its own class of the stored name; the game's states still fit it."""
    one, again = (namedtuple("Pitch", ["ball", "a"]) for _ in range(2))
    other = namedtuple("Pitch", ["ball", "b"])
    assert same_structure(one(0, 1), again(2, 3))
    assert not same_structure(one(0, 1), other(0, 1))
    assert not same_structure(one(0, 1), (0, 1))
