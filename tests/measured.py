"""What processes of tests, which get an environment of their own, need to be measured by coverage as well."""

from __future__ import annotations

import os

MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
"""Empty unless coverage runs the tests."""
