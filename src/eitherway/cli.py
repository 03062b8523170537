"""The commands. Their options come from the declared settings; what they do is done elsewhere.

Whatever is wrong ends as one line on stderr and the exit code of the error.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

import click

from eitherway import __version__
from eitherway.config import SETTINGS, Config, Setting, Settings, did_you_mean, load, option_name
from eitherway.errors import StartError

HELP_WIDTH = 100  # columns, where the terminal has as many
OPTION_WIDTH = 31  # columns for an option and its argument; its help stands beside
NO_BREAK = "\N{NO-BREAK SPACE}"
USAGE_ERROR = 2  # exit code
INTERRUPTED = 130  # exit code: 128 and the number of SIGINT
LAB_COMMANDS = {"compare": "commands", "load": "load_command", "claims": "claims_command"}  # and their modules
ARGUMENT_BY_UNIT = {"bytes": "SIZE", "s": "TIME"}
# What other servers call it.
ELSEWHERE = {
    **dict.fromkeys(("--host", "--port"), "--bind HOST:PORT"),
    **dict.fromkeys(("-k", "--worker-class"), "--engine"),
    "--app-dir": "--chdir",
    "--factory": '"module:factory()"',
}
DEFAULTS = {each.name: each.default for each in fields(Config)}


# ---- options from settings ----


class SettingOption(click.Option):
    """The option of one setting. It passes on what the user wrote; reading and checking are the setting's."""

    def __init__(self, name: str, declared: Setting) -> None:
        self.group = declared.group
        on, off = option_name(name), option_name(name, False)
        is_flag = isinstance(DEFAULTS[name], bool)
        super().__init__(
            [name, f"{on}/{off}" if is_flag else on, *([declared.short] if declared.short else [])],
            # Not given must differ from given as the default, which would hide what a file says.
            default=None,
            multiple=bool(declared.kind.separator),
            metavar=None if is_flag else _metavar(name, declared),
            help=_help(name, declared),
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the two columns of the help: the option, the text."""
        if self.is_flag:
            return f"--[no-]{self.opts[0].removeprefix('--')}", self.help or ""
        return super().get_help_record(ctx)


def _metavar(name: str, declared: Setting) -> str:
    if declared.metavar:
        return declared.metavar
    if declared.choices:
        return name.rpartition("_")[2].upper()
    return ARGUMENT_BY_UNIT.get(declared.unit, "N")


def _help(name: str, declared: Setting) -> str:
    """Return the help text with the choices and the default behind it."""
    notes = [", ".join(declared.choices)] if declared.choices else []
    if default := declared.kind.show(DEFAULTS[name]):
        notes.append(f"default:{NO_BREAK}{default}")
    return f"{declared.help} [{'; '.join(notes)}]" if notes else declared.help


def _parameters() -> list[click.Parameter]:
    """Return a command's arguments and options, in the order of the settings."""
    options = [SettingOption(name, declared) for name, declared in SETTINGS.items() if name != "app"]
    file = click.Option(["file", "--config"], metavar="FILE", default="", help="Read the settings in this file.")
    return [click.Argument(["app"], required=False, metavar="[APP]"), *options, file]


class SettingsCommand(click.Command):
    """A command that takes every setting; its help shows them in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of a group together."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            row = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if row:
                sections.setdefault(getattr(option, "group", "Other"), []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                # Filled up, so that the texts of all sections stand in one column.
                formatter.write_dl([(option.ljust(OPTION_WIDTH), text) for option, text in rows], OPTION_WIDTH)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, now that its lines are broken."""
        return super().get_help(ctx).replace(NO_BREAK, " ")


# ---- the commands ----


class Commands(click.Group):
    """The group, with the lab's commands, and a better word for a command that there is not."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *LAB_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one of the lab is imported now."""
        if cmd_name not in LAB_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"eitherway.lab.{LAB_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command, or say what may have been meant."""
        name = args[0]
        known = self.list_commands(ctx)
        if name in known or name.startswith("-"):
            return super().resolve_command(ctx, args)
        serve = f"; did you mean `eitherway serve {name}`?"
        hint = serve if ":" in name else did_you_mean(name, known)
        raise click.UsageError(f"there is no command {name!r}{hint}")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"max_content_width": HELP_WIDTH, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message=f"eitherway {__version__} (Python {platform.python_version()})")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Run any Python web application under the concurrency model it needs."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@commands.command(
    "serve", cls=SettingsCommand, params=_parameters(), short_help="Serve an application until told to stop."
)
def serve_command(file: str, **options: object) -> int:
    """Serve an application until told to stop.

    APP says where it is: "shop:app" is app in shop.py, "shop:create_app()" is what that call returns, and
    "shop" alone is app, application or create_app() in shop.py.

    Every setting may also stand in eitherway.toml, in [tool.eitherway] of pyproject.toml, or in a variable
    such as EITHERWAY_ENGINE. The command line wins over variables, and variables over files.
    """
    settings = load(options=options, file=file)
    # Imported after: a mistake in the settings is told at once, and `config` needs no server.
    from eitherway.serve import serve

    return serve(settings)


@commands.command("config", cls=SettingsCommand, params=_parameters(), short_help="Show the settings in force.")
def config_command(file: str, **options: object) -> int:
    """Show the settings in force, and where each comes from."""
    click.echo("\n".join(_table(load(options=options, file=file))))
    return 0


def _table(settings: Settings) -> list[str]:
    """Return the lines of three columns: name, value with its unit, origin."""
    rows = [(name, _shown(name, settings.config), settings.origins[name]) for name in SETTINGS]
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    return [f"{name:{name_width}}  {value:{value_width}}  {origin}" for name, value, origin in rows]


def _shown(name: str, config: Config) -> str:
    declared = SETTINGS[name]
    value = getattr(config, name)
    if declared.unit:
        return f"{value:.12g} {declared.unit}"
    return declared.kind.show(value) or '""'


# ---- the commands that speak to a running server ----

_CONTROL = [
    SettingOption("control_socket", SETTINGS["control_socket"]),
    click.Option(["file", "--config"], metavar="FILE", default="", help="Read the settings in this file."),
]


def _ask(command: str, file: str, options: dict[str, object], patience: float | None = 5.0) -> dict[str, Any]:
    config = load(options=options, file=file).config
    from eitherway.supervisor.control import ask

    return ask(config.control_socket, command, patience)


@commands.command(
    "status",
    params=[click.Option(["--json", "as_json"], is_flag=True, help="As JSON."), *_CONTROL],
    short_help="Show what a running server does.",
)
def status_command(as_json: bool, file: str, **options: object) -> int:
    """Show what the workers of a running server do."""
    import json

    from eitherway.supervisor.control import table

    status = _ask("status", file, options)
    click.echo(json.dumps(status, indent=2) if as_json else table(status))
    return 0


@commands.command("reload", params=_CONTROL, short_help="Replace a running server's workers, without losing a request.")
def reload_command(file: str, **options: object) -> int:
    """Replace the workers of a running server by new ones, and wait until all are new."""
    answer = _ask("reload", file, options, patience=None)
    count = answer["reloaded"]
    click.echo(f"reloaded {count} worker{'s' * (count > 1)}")
    return 0


@commands.command("stop", params=_CONTROL, short_help="Stop a running server gracefully.")
def stop_command(file: str, **options: object) -> int:
    """Stop a running server gracefully, and wait for its end."""
    _ask("stop", file, options)
    click.echo("stopped")
    return 0


# ---- the entry ----


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, that of the process unless given; return the exit code."""
    try:
        # None where the group itself ran: it has shown its help.
        return commands.main(argv, prog_name="eitherway", standalone_mode=False) or 0
    except StartError as error:
        if error.traceback:
            print(error.traceback.rstrip(), file=sys.stderr)
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        return _fail(_usage(error), USAGE_ERROR)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _fail(line: str, exit_code: int) -> int:
    print(f"eitherway: {line}", file=sys.stderr)
    return exit_code


def _usage(error: click.ClickException) -> str:
    """Return the one line for a mistake in options."""
    if isinstance(error, click.NoSuchOption):
        if error.option_name in ELSEWHERE:
            return f"there is no option {error.option_name}; here it is {ELSEWHERE[error.option_name]}"
        parameters = error.ctx.command.params if error.ctx else []
        known = [name for each in parameters for name in (*each.opts, *each.secondary_opts)]
        return f"there is no option {error.option_name}{did_you_mean(error.option_name, known)}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return message[:1].lower() + message[1:]
