"""Every example in the documentation runs, and everything public is documented."""

import doctest
import importlib
import inspect
import pkgutil

import pyro
import pytest

import vsg_ppl

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(vsg_ppl.__path__, "vsg_ppl.")
    if not module.name.endswith("__main__")
)


def examples(name):
    """The doctests of a module that have examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(importlib.import_module(name), name) if test.examples]


EXAMPLES = {name: examples(name) for name in ["vsg_ppl", *MODULES]}


def test_all_parts_of_the_library_are_looked_at():
    for part in ("vsg_ppl.game", "vsg_ppl.handlers.play", "vsg_ppl.guides.policy"):
        assert EXAMPLES[part]
    assert len([name for name in MODULES if name.startswith("vsg_ppl.models.")]) > 10


@pytest.mark.parametrize("name", [name for name, tests in EXAMPLES.items() if tests])
def test_examples_run(name):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in EXAMPLES[name]:
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        printed = []
        runner.run(test, out=printed.append, clear_globs=False)
        assert runner.failures == 0, "".join(printed)


def public(module):
    """The public functions and classes that a module itself defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    bare = []
    for label, value in public(module).items():
        if not inspect.getdoc(value):
            bare.append(label)
        if inspect.isclass(value):
            bare += [
                f"{label}.{method}"
                for method, function in vars(value).items()
                if not method.startswith("_")
                and (inspect.isfunction(function) or isinstance(function, property))
                and not inspect.getdoc(getattr(value, method))
            ]
    assert bare == []


@pytest.mark.parametrize("name", vsg_ppl.__all__)
def test_what_the_library_exports_is_documented_by_its_own_words(name):
    value = getattr(vsg_ppl, name)
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own and own != dict.__doc__ and not own.startswith(f"{name}(")  # dataclasses write that
