"""`python -m eitherway` is `eitherway`."""

import sys

from eitherway.cli import main

if __name__ == "__main__":
    sys.exit(main())
