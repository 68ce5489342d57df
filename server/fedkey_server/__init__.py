"""fedkey's server: text to tokenizer to model to federated rounds.

In: text files. Out: run folders. Next stop: `fedkey_server.corpus`.
"""

import os

# Before anything imports flwr or ray: no usage reports, no look-up of newer versions, no installing.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# Before torch loads OpenMP: threads that wait for each other sleep instead of spinning. Measured 2026-11-24
# on two cores, 60 steps of the tiny preset: beside one busy process 15 s instead of 31, alone 8.6 s instead
# of 7.8.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
