"""The settings: how values are read, which source wins, and the one line for what is refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eitherway
from eitherway.config import SETTINGS, Address, Config, load, option_name, parse_bind, parse_network
from eitherway.config.values import KINDS, parse_duration, parse_size
from eitherway.errors import ConfigError

NAMES = list(SETTINGS)
DEFAULTS = {each.name: each.default for each in fields(Config)}


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no settings file is, and without variables of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EITHERWAY_CONFIG", raising=False)
    for name in NAMES:
        monkeypatch.delenv(f"EITHERWAY_{name.upper()}", raising=False)


def refusal(**sources: Any) -> str:
    """Return the line with which `load` refuses."""
    with pytest.raises(ConfigError) as caught:
        load(**{"environ": {}, **sources})
    line = str(caught.value)
    assert "\n" not in line
    return line


# ---- defaults ----


def test_without_sources_all_is_default() -> None:
    settings = load(environ={})
    assert settings.config == Config()
    assert settings.origins == dict.fromkeys(NAMES, "default")


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_a_value_that_may_be_given(name: str) -> None:
    settings = load(environ={}, keywords={name: DEFAULTS[name]})
    assert settings.config == Config()
    assert settings.origins[name] == "keyword"


@pytest.mark.parametrize("name", NAMES)
def test_a_default_reads_back_from_the_text_that_shows_it(name: str) -> None:
    text = SETTINGS[name].kind.show(DEFAULTS[name])
    assert getattr(load(environ={f"EITHERWAY_{name.upper()}": text}).config, name) == DEFAULTS[name]


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().threads = 3  # type: ignore[misc]


def test_settings_can_be_handed_to_another_process() -> None:
    settings = load(environ={}, keywords={"threads": 3})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert copy.deepcopy(settings) == settings


def test_importing_the_settings_imports_nothing_heavy() -> None:
    code = (
        "import sys; import eitherway.config; eitherway.config.load(environ={});"
        "import json; print(json.dumps(list(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(eitherway.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    heavy = {"click", "tomllib", "ipaddress", "difflib", "pathlib", "logging", "socket", "asyncio"}
    assert not heavy & set(json.loads(run.stdout))


# ---- sizes and times ----


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("8190", 8190),
        ("64k", 65536),
        ("64K", 65536),
        ("64 KiB", 65536),
        ("1kb", 1024),
        ("100m", 104857600),
        ("1g", 2**30),
        (" 1G ", 2**30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5k", "1t", "1 000", "0x10", "1e3", "٣", "9" * 19, "1k\n1", "1_000"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**17))
def test_a_size_reads_back(size: int) -> None:
    assert parse_size(KINDS["size"].show(size)) == size


@given(st.integers(min_value=0, max_value=10**6), st.sampled_from([("", 0), ("k", 1), ("m", 2), ("g", 3)]))
def test_suffixes_of_sizes_are_powers_of_1024(number: int, suffix: tuple[str, int]) -> None:
    assert parse_size(f"{number}{suffix[0]}") == number * 1024 ** suffix[1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("10", 10),
        ("0.5", 0.5),
        ("2m", 120),
        ("1h", 3600),
        ("1.5 S", 1.5),
        ("0", 0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1d", "5 parsecs", "inf", "nan", "1e3", ".5", "1.", "1,5", "1m30s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_time_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(KINDS["duration"].show(seconds)) == pytest.approx(seconds, rel=1e-12)


@given(st.sampled_from(["size", "duration", "count", "flag"]), st.text(max_size=12))
def test_any_text_is_read_or_refused(kind: str, text: str) -> None:
    try:
        value = KINDS[kind].parse(text)
    except ValueError:
        return
    assert KINDS[kind].accept(value) == value


# ---- addresses ----


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address("inet", "127.0.0.1", 8000)),
        (":8000", Address("inet", "0.0.0.0", 8000)),
        ("0.0.0.0:0", Address("inet", "0.0.0.0", 0)),
        ("[::1]:8000", Address("inet6", "::1", 8000)),
        ("[::]:65535", Address("inet6", "::", 65535)),
        ("[0:0:0:0:0:0:0:1]:80", Address("inet6", "::1", 80)),
        ("[fe80::1%eth0]:80", Address("inet6", "fe80::1%eth0", 80)),
        ("localhost:80", Address("name", "localhost", 80)),
        ("my-host.example:80", Address("name", "my-host.example", 80)),
        ("unix:/run/shop.sock", Address("unix", path="/run/shop.sock")),
        ("unix:shop:1.sock", Address("unix", path="shop:1.sock")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_bind(text) == address
    assert parse_bind(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "8000",
        "localhost:",
        ":",
        ":-1",
        ":65536",
        ":100000",
        ":8o",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[127.0.0.1]:80",
        "[]:80",
        "1.2.3:80",
        "1.2.3.256:80",
        "1.2.3.04:80",
        "1.2.3.4.5:80",
        "a b:80",
        "a/b:80",
        "unix:",
        "unix:/a\x00b",
        "http://localhost:80",
        ":٣",
        "-a:80",
        "a:80\n",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        parse_bind(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_bind(text)
    except ValueError:
        return
    assert parse_bind(str(address)) == address


def test_networks() -> None:
    assert parse_network("10.1.2.3/8") == ip_network("10.0.0.0/8")
    assert parse_network("::1") == ip_network("::1/128")


# ---- sources ----


def test_text_from_the_environment_is_read_by_kind() -> None:
    config = load(
        environ={
            "EITHERWAY_ENGINE": "gevent",
            "EITHERWAY_BIND": ":80, unix:/run/shop.sock",
            "EITHERWAY_PYTHONPATH": "lib:vendor",
            "EITHERWAY_THREADS": "16",
            "EITHERWAY_LIMIT_BODY": "1g",
            "EITHERWAY_HEAD_TIMEOUT": "500ms",
            "EITHERWAY_SERVER_HEADER": "No",
            "EITHERWAY_FORWARDED_ALLOW_IPS": "",
            "PATH": "/bin",
        }
    ).config
    assert (config.engine, config.threads, config.limit_body, config.head_timeout) == (
        "gevent",
        16,
        2**30,
        0.5,
    )
    assert config.bind == (":80", "unix:/run/shop.sock")
    assert config.pythonpath == ("lib", "vendor")
    assert config.server_header is False
    assert config.forwarded_allow_ips == ()


def test_the_environment_is_that_of_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EITHERWAY_THREADS", "3")
    assert load().config.threads == 3


def test_options_that_were_not_given_count_for_nothing() -> None:
    settings = load(environ={}, options={"engine": None, "bind": (), "server_header": None})
    assert settings == load(environ={})


def test_options_may_be_repeated_and_hold_several() -> None:
    settings = load(environ={}, options={"bind": (":1,:2", "[::1]:3"), "server_header": False, "app": "shop:app"})
    assert settings.config.bind == (":1", ":2", "[::1]:3")
    assert settings.origins["bind"] == "--bind"
    assert settings.origins["server_header"] == "--no-server-header"
    assert settings.origins["app"] == "APP"


def test_keywords_are_python_values() -> None:
    keywords = {"bind": [":1", "unix:/a,b"], "limit_body": 10, "head_timeout": 2, "body_timeout": "2m"}
    config = load(environ={}, keywords=keywords).config
    assert config.bind == (":1", "unix:/a,b")
    assert (config.limit_body, config.head_timeout, config.body_timeout) == (10, 2.0, 120.0)
    assert isinstance(config.head_timeout, float)


def test_own_file(tmp_path: Path) -> None:
    (tmp_path / "eitherway.toml").write_text(
        'engine = "threads"\nlimit-body = "1m"\nbind = ["127.0.0.1:1", "127.0.0.1:2"]\nhead_timeout = 3\n'
    )
    (tmp_path / "pyproject.toml").write_text('[tool.eitherway]\nengine = "sync"\n')
    settings = load(environ={})
    assert (settings.config.engine, settings.config.limit_body) == ("threads", 2**20)
    assert settings.config.bind == ("127.0.0.1:1", "127.0.0.1:2")
    assert settings.config.head_timeout == 3.0
    assert settings.origins["limit_body"] == "eitherway.toml"


def test_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n[tool.eitherway]\nengine = "sync"\n')
    settings = load(environ={})
    assert (settings.config.engine, settings.origins["engine"]) == ("sync", "pyproject.toml")


@pytest.mark.parametrize("content", ["", "[tool.ruff]\n", 'dependencies = ["eitherway"]\n', "this is not TOML"])
def test_a_project_without_our_table_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    assert load(environ={}) == load(environ={}, directory=tmp_path / "nowhere")


def test_the_directory_of_the_files_may_be_another(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "eitherway.toml").write_text("threads = 3\n")
    assert load(environ={}).config.threads == 8
    assert load(environ={}, directory=tmp_path / "else").config.threads == 3


def test_a_named_file_stands_instead_of_the_usual_ones(tmp_path: Path) -> None:
    (tmp_path / "eitherway.toml").write_text("threads = 3\nbacklog = 3\n")
    (tmp_path / "production.toml").write_text("threads = 4\n")
    settings = load(environ={}, file="production.toml")
    assert (settings.config.threads, settings.config.backlog) == (4, 2048)
    assert settings.origins["threads"] == "production.toml"
    assert load(environ={"EITHERWAY_CONFIG": "production.toml"}) == settings


SOURCES = ("file", "environment", "option", "keyword")


@given(st.dictionaries(st.sampled_from(SOURCES), st.integers(min_value=1, max_value=1024)))
def test_the_later_source_wins(tmp_path_factory: pytest.TempPathFactory, threads: Mapping[str, int]) -> None:
    directory = tmp_path_factory.mktemp("settings")
    if "file" in threads:
        (directory / "eitherway.toml").write_text(f"threads = {threads['file']}\n")
    settings = load(
        directory=directory,
        environ={"EITHERWAY_THREADS": str(threads["environment"])} if "environment" in threads else {},
        options={"threads": str(threads["option"]) if "option" in threads else None},
        keywords={"threads": threads["keyword"]} if "keyword" in threads else {},
    )
    origins = dict(zip(SOURCES, ("eitherway.toml", "EITHERWAY_THREADS", "--threads", "keyword"), strict=True))
    winner = next((source for source in reversed(SOURCES) if source in threads), None)
    assert settings.config.threads == (threads[winner] if winner else 8)
    assert settings.origins["threads"] == (origins[winner] if winner else "default")


# ---- refusals ----


def test_a_refusal_names_setting_source_value_and_what_is_allowed(tmp_path: Path) -> None:
    allowed = "is not a whole number from 1 to 1024"
    assert refusal(environ={"EITHERWAY_THREADS": "many"}) == f"threads (EITHERWAY_THREADS): 'many' {allowed}"
    assert refusal(options={"threads": "0"}) == f"threads (--threads): '0' {allowed}"
    assert refusal(keywords={"threads": "3"}) == f"threads (keyword): '3' {allowed}"
    (tmp_path / "eitherway.toml").write_text("threads = true\n")
    assert refusal() == f"threads (eitherway.toml): True {allowed}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "fast"),
        ("engine", 3),
        ("engine", None),
        ("interface", "rsgi"),
        ("threads", 1025),
        ("threads", 3.0),
        ("threads", True),
        ("bind", []),
        ("bind", "localhost"),
        ("bind", [8000]),
        ("bind", 8000),
        ("chdir", "a\0b"),
        ("pythonpath", {"lib": 1}),
        ("server_header", 1),
        ("server_header", "yes"),
        ("limit_body", "1t"),
        ("limit_body", -1),
        ("limit_body", 1.5),
        ("limit_request_line", 63),
        ("head_timeout", 0),
        ("head_timeout", float("nan")),
        ("head_timeout", float("inf")),
        ("head_timeout", True),
        ("graceful_timeout", -1),
        ("graceful_timeout", "25h"),
        ("root_path", "shop"),
        ("root_path", "/shop/"),
        ("forwarded_allow_ips", ["127.0.0.1", "localhost"]),
        ("forwarded_allow_ips", "10.0.0.0/33"),
        ("log_level", "INFO"),
    ],
)
def test_values_that_are_refused(name: str, value: object) -> None:
    line = refusal(keywords={name: value})
    assert line.startswith(f"{name} (keyword): ")
    assert SETTINGS[name].allowed in line


def test_of_a_list_the_bad_item_is_named() -> None:
    assert refusal(options={"bind": (":80", "oops")}).startswith("bind (--bind): 'oops' is not host:port, ")


@pytest.mark.parametrize("value", ["*", "unix", "10.0.0.0/8", "10.0.0.1", "::1", "fe80::/10"])
def test_peers_that_are_allowed(value: str) -> None:
    assert load(environ={}, keywords={"forwarded_allow_ips": value}).config.forwarded_allow_ips == (value,)


def test_the_nearest_choice_is_suggested() -> None:
    assert refusal(options={"engine": "gevnt"}).endswith("; did you mean 'gevent'?")
    assert "did you mean" not in refusal(options={"engine": "zzz"})


def test_unknown_names_get_the_nearest_right_one(tmp_path: Path) -> None:
    assert refusal(keywords={"thread": 3}) == "unknown setting 'thread' (keyword); did you mean 'threads'?"
    assert refusal(options={"thread": "3"}) == "unknown setting 'thread' (command line); did you mean 'threads'?"
    assert (
        refusal(environ={"EITHERWAY_ENGNE": "sync"})
        == "unknown setting 'EITHERWAY_ENGNE' (environment); did you mean 'EITHERWAY_ENGINE'?"
    )
    (tmp_path / "eitherway.toml").write_text("head-timeot = 3\n")
    assert refusal() == "unknown setting 'head-timeot' (eitherway.toml); did you mean 'head_timeout'?"


def test_a_file_of_our_own_needs_no_table(tmp_path: Path) -> None:
    (tmp_path / "eitherway.toml").write_text("[tool.eitherway]\nthreads = 3\n")
    assert refusal() == "eitherway.toml: the settings stand at the top of this file; leave [tool.eitherway] out"


def test_an_unknown_name_far_from_all_is_sent_to_the_list() -> None:
    assert refusal(keywords={"zzz": 1}).endswith("; `eitherway config` lists the settings")


def test_a_variable_in_small_letters_is_refused_too() -> None:
    assert "EITHERWAY_ENGINE" in refusal(environ={"EITHERWAY_engine": "sync"})


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eitherway.toml").write_text("head-timeout = 3\nhead_timeout = 4\n")
    assert refusal() == "head_timeout (eitherway.toml): given twice, as 'head-timeout' and as 'head_timeout'"


def test_a_bad_value_is_refused_even_where_a_later_source_wins() -> None:
    assert "EITHERWAY_THREADS" in refusal(environ={"EITHERWAY_THREADS": "x"}, keywords={"threads": 3})


def test_a_long_value_is_cut_and_a_control_character_escaped() -> None:
    line = refusal(environ={"EITHERWAY_ENGINE": "a\nb" + "x" * 5000})
    assert len(line) < 300
    assert "'a\\nbxxx" in line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(file="gone.toml") == "config file 'gone.toml': there is no such file"
    assert refusal(file=str(tmp_path)) == f"config file {str(tmp_path)!r}: Is a directory"
    (tmp_path / "eitherway.toml").write_text("threads = \n")
    assert refusal().startswith("config file 'eitherway.toml': this is not TOML: ")
    (tmp_path / "eitherway.toml").write_bytes(b'engine = "\xff"\n')
    assert refusal().startswith("config file 'eitherway.toml': this is not TOML: ")


def test_projects_that_are_not_as_they_should_be(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool]\neitherway = 3\n")
    assert refusal() == "config file 'pyproject.toml': tool.eitherway is not a table"
    project.write_text('tool = "eitherway"\n')
    assert load(environ={}).config == Config()
    assert refusal(file=str(project)) == f"config file {str(project)!r}: it has no table [tool.eitherway]"


def test_names_of_options() -> None:
    assert option_name("keep_alive_timeout") == "--keep-alive-timeout"
    assert option_name("server_header", False) == "--no-server-header"
