"""``python -m staticgraph``: see `staticgraph.cli`."""

import sys

from staticgraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
