"""Sites, for one test each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from production import Site, StartSite


@pytest.fixture
def start_site() -> Iterator[StartSite]:
    """`start_site(app, engine, workers, *options)`: a server of this test alone; nothing of it lives on afterwards."""
    sites: list[Site] = []

    def start(*arguments: object, **more: object) -> Site:
        sites.append(Site(*arguments, **more))  # type: ignore[arg-type]
        return sites[-1]

    yield start
    for site in sites:
        site.close()
