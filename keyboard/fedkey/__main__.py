"""`python -m fedkey`: the same as `fedkey`."""

import sys

from fedkey.cli import main

if __name__ == "__main__":
    sys.exit(main())
