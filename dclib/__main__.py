"""`python -m dclib` is the command `dclib`."""

import sys

from dclib.cli import main

sys.exit(main())
