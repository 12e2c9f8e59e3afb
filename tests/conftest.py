"""What every test runs under: few threads, deterministic algorithms, no clock in the property tests."""

from __future__ import annotations

import os
import signal

# Set before torch loads, and in the environment: processes that a test starts then run with as many threads, on which
# sums in float depend.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each of the workers, which share the cores: two are many times slower
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line sets it
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("MPLBACKEND", "agg")

import torch
from hypothesis import settings

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.use_deterministic_algorithms(True)

# A busy machine is slow, not wrong. In CI the same examples are drawn every time.
settings.register_profile("unspool", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("unspool")

# Workers of xdist, and what is started behind `&`, ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
