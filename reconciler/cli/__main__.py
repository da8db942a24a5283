"""`python -m reconciler.cli`, the same as `trueup`. Nothing else goes here."""

import sys

from reconciler.cli.main import main

sys.exit(main())
