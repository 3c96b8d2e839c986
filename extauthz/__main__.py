"""``python -m extauthz`` is ``extauthz``."""

import sys

from extauthz.cli import main

if __name__ == "__main__":
    sys.exit(main())
