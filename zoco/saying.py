"""How the command says things: a console, and an end with one sentence."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

from broker.lines import plain
from ops.console import Speaker
from ops.i18n import say

# Usage, and whatever the user can mend.
EX_USAGE: Final = 2
# The books cannot be read, so nothing was judged.
EX_UNREADABLE: Final = 3
# A purchase was accepted, and is under way.
EX_UNFINISHED: Final = 3
# A fault of Zoco's own: 1 says something of the shop, as that a promise is broken.
EX_SOFTWARE: Final = 70

out = Speaker()


def fail(sentence: str | Exception, *values: object, code: int = EX_USAGE) -> NoReturn:
    sys.stderr.write(f"zoco: {plain(say(str(sentence), *values))}\n")
    sys.exit(code)
