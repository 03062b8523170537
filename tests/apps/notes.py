"""What happens inside an application, told to its test on stderr: that works on every engine, and after the answer."""

from __future__ import annotations

import sys


def note(key: str, text: object) -> None:
    """Write one whole line, so that threads cannot mix theirs."""
    sys.stderr.write(f"note {key} {text}\n")
    sys.stderr.flush()
