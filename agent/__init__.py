"""The agent: a heart that learns and decides, and the shells that connect it to the world."""

import os

# The learners' matrices are small: a second BLAS thread costs each product more than it saves,
# and takes a core from whatever else runs here. Read by numpy when it is first imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
