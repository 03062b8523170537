"""Waiting on the loop that the server runs, whose library it has imported before the application: else asyncio's."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_own = next((name for name in ("trio", "curio") if name in sys.modules), "asyncio")
sleep: Any = import_module(_own).sleep
