"""The benchmark of the kernels: builds, checks and times everything in one call.

In: this machine. Out: tables and goals. Next stop: `bench.run`, the command; `bench.counts` says what is
counted."""
