"""Which variants are measured, in which order, for how long."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.cli import commands
from eitherway.config import MODELS, load
from eitherway.lab import plan
from eitherway.lab.commands import engines_of
from eitherway.lab.plan import Application, Wishes

WSGI = Application("shop:app", "wsgi")
ASGI = Application("shop_async:app", "asgi")


def names(*applications: Application, **wishes: object) -> list[str]:
    return [each.name for each in plan.variants(applications, Wishes(**wishes))]  # type: ignore[arg-type]


def test_a_plain_wsgi_application_meets_the_usual_engines() -> None:
    assert names(WSGI) == [
        "sync", "threads, 8 threads", "threads, 64 threads", "gevent", "asyncio, 64 threads", "uvloop, 64 threads"
    ]  # fmt: skip


def test_an_asgi_application_has_no_threads_but_those_of_the_engine() -> None:
    assert names(ASGI) == ["sync", "threads, 8 threads", "gevent", "asyncio", "uvloop"]


def test_all_engines_are_measured_where_they_are_asked_for() -> None:
    assert set(plan.USUAL) < set(plan.ENGINES) == set(MODELS)
    found = plan.variants([WSGI], Wishes(engines=plan.ENGINES, threads=(8,)))
    assert [each.engine for each in found] == list(MODELS)
    assert [each.engine for each in found if each.threads] == [
        "threads",
        "asyncio",
        "uvloop",
        "trio",
        "curio",
        "twisted",
    ]


def test_what_is_not_installed_is_told_and_no_failure_unless_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gevent", "trio"):
        monkeypatch.setitem(sys.modules, name, None)
    assert engines_of(()) == (
        ("sync", "threads", "asyncio", "uvloop"),
        ('not installed, so left out: gevent; pip install "eitherway[gevent]" adds them',),
    )
    libraries = {name: model.library for name, model in MODELS.items() if model.library}
    missing = {name for name, library in libraries.items() if name in ("gevent", "trio") or not find_spec(library)}
    everything, (note,) = engines_of(("all",))
    assert everything == tuple(name for name in plan.ENGINES if name not in missing)
    assert all(name in note for name in missing)
    assert engines_of(("sync", "trio")) == (("sync", "trio"), ())


def test_engines_threads_and_workers_are_axes() -> None:
    assert names(WSGI, engines=("threads", "gevent"), threads=(4, 16), workers=(1, 2)) == [
        "threads, 4 threads", "threads, 4 threads, 2 workers", "threads, 16 threads", "threads, 16 threads, 2 workers",
        "gevent", "gevent, 2 workers",
    ]  # fmt: skip


def test_two_applications_are_told_apart_by_their_names() -> None:
    found = names(WSGI, ASGI, engines=("sync",))
    assert found == ["shop:app sync", "shop_async:app sync"]


def test_an_application_may_be_meant_for_some_engines_only() -> None:
    flask = Application("twin:app", "wsgi", label="Flask", engines=("sync", "threads"))
    assert names(flask, threads=(8,)) == ["sync", "threads, 8 threads"]
    assert names(flask, engines=("uvloop",)) == []


def test_the_pool_is_an_axis_except_where_requests_come_one_by_one() -> None:
    pools = [Application(f"twin:create({n})", "wsgi", label="Flask", pool=n) for n in (5, 20)]
    assert names(*pools, engines=("sync", "gevent")) == ["sync", "gevent, pool 5", "gevent, pool 20"]


@pytest.mark.parametrize("application", [WSGI, Application("shop:make(1, 'two words')", "asgi", ("--chdir", "a b"))])
def test_the_command_is_one_that_serve_understands(application: Application) -> None:
    for variant in plan.variants([application], Wishes(workers=(1, 3))):
        _, command, *arguments = shlex.split(variant.command)
        context = commands.commands[command].make_context(command, arguments, **commands.context_settings)
        options = {name: value for name, value in context.params.items() if name != "file"}
        config = load(options=options, environ={}).config
        assert (config.app, config.engine, config.workers) == (application.target, variant.engine, variant.workers)
        assert config.bind == ("127.0.0.1:8000",), "nothing that only the lab needs"


def test_rounds_are_interleaved() -> None:
    variants = plan.variants([WSGI], Wishes(engines=("sync", "gevent")))
    visits = plan.visits(variants, 3)
    assert [(each.round, each.variant.name) for each in visits] == [
        (1, "sync"), (1, "gevent"), (2, "sync"), (2, "gevent"), (3, "sync"), (3, "gevent")
    ]  # fmt: skip


@given(count=st.integers(1, 8), rounds=st.integers(1, 4), ladder=st.lists(st.integers(1, 999), min_size=1, max_size=4))
def test_what_nobody_asked_for_stays_in_the_budget(count: int, rounds: int, ladder: list[int]) -> None:
    wishes = Wishes(rounds=rounds, ladder=tuple(ladder))
    seconds = plan.duration(wishes, count)
    assert plan.SHORTEST <= seconds <= plan.LONGEST
    whole = count * rounds * plan.visit_time(wishes, seconds)
    assert whole <= plan.BUDGET * 1.05 or seconds == plan.SHORTEST


def test_the_default_comparison_takes_at_most_two_minutes() -> None:
    wishes = Wishes()
    count = len(plan.variants([WSGI], wishes))
    assert count * wishes.rounds * plan.visit_time(wishes, plan.duration(wishes, count)) < 120


def test_a_duration_that_was_asked_for_is_kept() -> None:
    assert plan.duration(Wishes(duration=0.3), 5, service_time=9.0) == 0.3


def test_slow_requests_get_the_time_they_need() -> None:
    assert plan.duration(Wishes(), 5, service_time=2.0) == 12.0


def test_the_time_left_is_expected_first_and_then_known() -> None:
    assert plan.time_left(10, 3.0, []) == 30.0
    assert plan.time_left(9, 3.0, [12.0]) == 27.0, "one that is slow is not all"
    assert plan.time_left(5, 3.0, [1.0, 1.0, 1.0, 1.0, 1.0]) == 5.0
