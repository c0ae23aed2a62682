import os
import signal

# A shell starts what it runs in the background with Ctrl-C ignored, and subprocesses inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports matplotlib; subprocesses that a test starts inherit it.
os.environ["MPLBACKEND"] = "Agg"

import hypothesis  # noqa: E402
import pyro  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

# The same examples on every machine and in every run; a failure prints how to repeat it.
hypothesis.settings.register_profile("vsg", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("vsg")


@pytest.fixture(autouse=True)
def fresh_pyro() -> None:
    """No test sees another's parameters or random numbers.

    It runs once for a hypothesis test, not for each example: there, clear and seed in the body.
    """
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
