"""`python -m fedkey_server`: the same as `fedkey-server`."""

import sys

from fedkey_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
