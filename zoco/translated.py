"""What Typer shows of the commands, in the reader's language. It has no catalogue of its own: its words are in ours."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import typer

from ops.i18n import language, say

# What Typer writes around our words.
TITLES: Final = (
    *("ARGUMENTS_PANEL_TITLE", "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE", "ERRORS_PANEL_TITLE"),
    *("DEFAULT_STRING", "ENVVAR_STRING", "REQUIRED_LONG_STRING", "ABORTED_TEXT", "RICH_HELP"),
)
# What Typer says with something filled in comes as a finished sentence; the first of these that it fits is meant.
SENTENCES: Final = (
    "Usage: {usage}",
    "Missing argument {name}.",
    "No such command {name}. Did you mean {others}?",
    "No such command {name}.",
    "No such option: {name} (Possible options: {others})",
    "No such option: {name}",
    "Option {name} requires an argument.",
    "Option {name} does not take a value.",
    "Got unexpected extra argument(s) ({names})",
    "Invalid value for {name}: {why}",
    "Input should be greater than or equal to {least}",
)


def in_the_readers_language(app: typer.Typer) -> Any:
    """The command, with what Typer shows of it in the reader's language."""
    command = typer.main.get_command(app)
    if language() != "en":
        from typer import rich_utils

        for name in TITLES:
            setattr(rich_utils, name, say(getattr(rich_utils, name)))
        _translate(command)
        as_it_was = rich_utils.rich_format_error
        setattr(rich_utils, as_it_was.__name__, lambda error: as_it_was(_translated(error)))
    return command


def _translated(error: Any) -> Any:
    text = _said(error.format_message())
    error.format_message = lambda: text
    return error


def _translate(command: Any) -> None:
    command.help = say(command.help)
    for name in ("options_metavar", "subcommand_metavar"):
        setattr(command, name, say(getattr(command, name, "")))
    usage = command.get_usage
    command.get_usage = lambda ctx: _said(usage(ctx))
    for option in (*command.params, command.get_help_option(typer.Context(command))):
        option.help = option.help and say(option.help)
        option.display_type_rich = functools.partial(_type, option.display_type_rich)
    for inner in getattr(command, "commands", {}).values():
        _translate(inner)


def _type(kind: Any, ctx: Any) -> str:
    """Who reads no English learns nothing from `<bool>`: that option takes no value."""
    text: str = kind(ctx=ctx)
    return "" if text == "<bool>" else say(text)


def _said(text: str) -> str:
    """A sentence of Typer's; what fills it may be another."""
    for sentence, pattern in _patterns():
        if found := pattern.fullmatch(text):
            return say(sentence, *map(_said, found.groups()))
    return say(text)


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(one, re.compile("(.*?)".join(map(re.escape, re.split(r"\{\w+\}", one))), re.DOTALL)) for one in SENTENCES]
