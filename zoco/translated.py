"""What Typer shows of the commands, in the reader's language."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import typer

from ops.i18n import in_spanish, say

# What Typer writes around our words.
TITLES: Final = (
    *("ARGUMENTS_PANEL_TITLE", "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE", "ERRORS_PANEL_TITLE"),
    *("DEFAULT_STRING", "ENVVAR_STRING", "REQUIRED_LONG_STRING", "ABORTED_TEXT", "RICH_HELP"),
)


def in_the_readers_language(app: typer.Typer) -> Any:
    """The command, with what Typer shows of it in the reader's language."""
    command = typer.main.get_command(app)
    if in_spanish():
        from typer import rich_utils

        for name in TITLES:
            setattr(rich_utils, name, say(getattr(rich_utils, name)))
        _translate(command)
        as_it_was = rich_utils.rich_format_error
        setattr(rich_utils, as_it_was.__name__, lambda error: as_it_was(_translated(error)))
    return command


def _translated(error: Any) -> Any:
    text = say(error.format_message())
    error.format_message = lambda: text
    return error


def _translate(command: Any) -> None:
    command.help = say(command.help)
    for name in ("options_metavar", "subcommand_metavar"):
        setattr(command, name, say(getattr(command, name, "")))
    usage = command.get_usage
    command.get_usage = lambda ctx: say(usage(ctx))
    for option in (*command.params, command.get_help_option(typer.Context(command))):
        option.help = option.help and say(option.help)
        option.display_type_rich = partial(_said, option.display_type_rich)
    for inner in getattr(command, "commands", {}).values():
        _translate(inner)


def _said(kind: Any, ctx: Any) -> Any:
    return say(kind(ctx=ctx))
