"""Print the unit for the virtual environment whose Python runs this."""

from __future__ import annotations

import sys

from . import unit_text

sys.stdout.write(unit_text())
