"""How the command says things: a console, and an end with one sentence."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

from ops.console import Speaker, plain
from ops.i18n import say

# Usage, and whatever the user can mend.
EX_USAGE: Final = 2
# The books cannot be read, so nothing was judged.
EX_UNREADABLE: Final = 3

out = Speaker()


def fail(sentence: str | Exception, *values: object, code: int = EX_USAGE) -> NoReturn:
    lines = say(str(sentence), *values).split("\n")
    sys.stderr.write("zoco: " + "\n".join(map(plain, lines)) + "\n")
    sys.exit(code)
