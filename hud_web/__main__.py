"""`python -m hud_web` is the `hud` command."""

import sys

from hud_web.cli import main

sys.exit(main())
