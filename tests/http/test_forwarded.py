"""http/forwarded.py: whom to believe, and what."""

from __future__ import annotations

import pytest

from eitherway.http.forwarded import Origin, origin, parse_node

PROXIES = {"10.0.0.1", "10.0.0.2", "::1"}


def said(*fields: tuple[str, str]) -> Origin:
    return origin([(name.encode(), value.encode("latin-1")) for name, value in fields], PROXIES.__contains__)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("6.6.6.6, 1.2.3.4", ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4, 10.0.0.2, 10.0.0.1", ("1.2.3.4", 0)),
        ("10.0.0.2, 10.0.0.1", ("10.0.0.2", 0)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("1.2.3.4,,  ,", ("1.2.3.4", 0)),
        ("6.6.6.6, unknown, 10.0.0.1", ("10.0.0.1", 0)),
        ("6.6.6.6, _hidden", None),
        ("", None),
        ("' OR 1=1", None),
        ("1.2.3.4:999999", None),
    ],
)
def test_x_forwarded_for(value: str, client: tuple[str, int] | None) -> None:
    assert said(("x-forwarded-for", value)).client == client


def test_fields_are_one_list() -> None:
    assert said(("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4, 10.0.0.1")).client == (
        "1.2.3.4",
        0,
    )


def test_thousands_of_entries_cost_nothing_and_the_right_end_counts() -> None:
    assert said(("x-forwarded-for", "6.6.6.6, " * 20_000 + "1.2.3.4, 10.0.0.1")).client == ("1.2.3.4", 0)
    assert said(("x-forwarded-for", "1.2.3.4" + ", 10.0.0.1" * 20_000)).client == ("10.0.0.1", 0)


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("ftp", None),
        ("", None),
    ],
)
def test_x_forwarded_proto(value: str, scheme: str | None) -> None:
    assert said(("x-forwarded-proto", value)).scheme == scheme


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("shop.example:8080", b"shop.example:8080"),
        ("a, b", b"b"),
        ("a/b", None),
        ("a@b", None),
        ("", None),
        ("\xe9", None),
    ],
)
def test_x_forwarded_host(value: str, host: bytes | None) -> None:
    assert said(("x-forwarded-host", value)).host == host


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=1.2.3.4", Origin(("1.2.3.4", 0), None, None)),
        (
            'For="[2001:db8::1]:4711";Proto=https;host=a.example',
            Origin(("2001:db8::1", 4711), "https", b"a.example"),
        ),
        ("for=6.6.6.6;proto=https, for=1.2.3.4;proto=http", Origin(("1.2.3.4", 0), "http", None)),
        ("for=1.2.3.4;proto=https, for=10.0.0.1", Origin(("1.2.3.4", 0), "https", None)),
        ("for=6.6.6.6, for=unknown, for=10.0.0.1;host=a", Origin(("10.0.0.1", 0), None, b"a")),
        ("for=6.6.6.6, nonsense", Origin(None, None, None)),
        ('for="1.2.3.4', Origin(None, None, None)),
        ("for=1.2.3.4;host=a/b", Origin(("1.2.3.4", 0), None, None)),
        ("for=unknown;proto=https;host=a", Origin(None, "https", b"a")),
        ("for=6.6.6.6;proto=http, for=_hidden;proto=https, for=10.0.0.1", Origin(("10.0.0.1", 0), "https", None)),
        ("proto=https", Origin(None, "https", None)),
        ("for=1.2.3.4;proto=https;", Origin(("1.2.3.4", 0), "https", None)),
        ("for=6.6.6.6, ,for=1.2.3.4 , ,", Origin(("1.2.3.4", 0), None, None)),
        ('for="1.2.3.4:_port"', Origin(("1.2.3.4", 0), None, None)),
        ("for=6.6.6.6;proto=https, for=1.2.3.4;;=", Origin(None, None, None)),
        ("", Origin(None, None, None)),
    ],
)
def test_forwarded(value: str, expected: Origin) -> None:
    assert said(("forwarded", value)) == expected


def test_forwarded_goes_first() -> None:
    found = said(("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4"))
    assert found == Origin(("1.2.3.4", 0), None, None)


@pytest.mark.parametrize(
    "node", ["", "unknown", "_a", "1.2.3.4:", "1.2.3.4:x", "[::1", "::1]", "1.2.3.4 5", "a" * 10_000]
)
def test_what_is_no_address(node: str) -> None:
    assert parse_node(node) is None


@pytest.mark.parametrize("node", ["999.1.1.1", "1.2.3", "....", ":::::", "dead.beef", "[1.2.3.4]", "1.2.3.4:99999"])
def test_what_only_looks_like_an_address(node: str) -> None:
    assert parse_node(node) is None
