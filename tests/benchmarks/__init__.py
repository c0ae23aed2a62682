"""Measured comparisons: CPU seconds of one thread, a peer side by side; ``make bench``.

Nothing here is asserted but that both sides computed the same thing: times depend on the machine.
"""

import os

# Before anything loads a BLAS; subprocesses inherit it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
