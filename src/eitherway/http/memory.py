"""A bounded memory of pure functions' results: clients and applications repeat themselves."""

from __future__ import annotations

from typing import Any


class Memory(dict[Any, Any]):
    """A dict to look results up in; `remember` is the only way in.

    Only what comes a second time is kept, so that values which differ in every request cost next to nothing and push
    nothing out. When `entries` are kept, all are forgotten and it begins anew.
    """

    __slots__ = ("_entries", "_largest", "_seen")

    def __init__(self, entries: int, largest: int) -> None:
        super().__init__()
        self._entries = entries
        self._largest = largest  # size of a key, in bytes or characters
        self._seen: set[int] = set()

    def remember(self, key: Any, size: int, value: Any) -> None:
        """Keep `value` for `key`, if it is small and was asked for before."""
        if size > self._largest:
            return
        seen = self._seen
        mark = hash(key)
        if mark not in seen:
            if len(seen) >= 4 * self._entries:
                seen.clear()
            seen.add(mark)
            return
        if len(self) >= self._entries:
            self.clear()
        self[key] = value
