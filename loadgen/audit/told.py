"""What a client may have been told of a purchase: as what it was shown, from first to last, by compras' book."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any, Final

import msgspec

from loadgen.audit import model
from loadgen.audit.findings import NONSENSE
from loadgen.audit.verdict import UNSET

# A purchase's row in the end, and what compras heard of it, in order.
Found = tuple[dict[str, Any], list[str]]
Purchase = Callable[[str], Found | None]
# A bit for each state that a purchase was in: what is known of it only grows.
BITS: Final = {estado: 1 << number for number, estado in enumerate(model.STATES.values())}
ENDS: Final = ("registrada", "rechazada")
# What an answer has more of than the one before it.
LATER: Final = {"motivo", "precio", "transaccionId"}


def same(one: Any, other: Any) -> bool:
    """As JSON: to Python 1, 1.0 and true are one."""
    if one is other:
        return True
    return bool(one == other) and _json(one) == _json(other)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def known_by(answer: dict[str, Any]) -> int:
    """The states that an answer knows of (BITS)."""
    return sum({BITS.get(step["estado"], 0) for step in answer["historia"]})


def states(known: int) -> list[str]:
    return [estado for estado, bit in BITS.items() if known & bit]


def was_shown(found: Found, answer: dict[str, Any]) -> bool:
    """Whether it ever was shown just like this. Looked at first: versions with a history as long."""
    row, heard = found
    with suppress(*NONSENSE):
        steps = accumulate(kind in model.STATES for kind in heard)
        likely = [number for number, count in enumerate(steps, 1) if count == len(answer["historia"])]
        if any(same(model.version(row, heard[:number]), answer) for number in likely):
            return True
    return any(same(version, answer) for version in _versions(found))


def could_be(found: Found, answer: dict[str, Any]) -> bool:
    """Whether it ever was shown like this, with its news in any order and at any time."""
    row, heard = found
    with suppress(*NONSENSE):
        known = {step["estado"] for step in answer["historia"]}
        version = model.version(row, [kind for kind in heard if model.STATES.get(kind) in known])
        return same(_undated(version), _undated(answer))
    return False


def is_later(found: Found, answer: dict[str, Any], *, undated: bool) -> bool:
    """Whether it may have been shown like this after all that the books have of it; `undated`: its news at any time."""
    with suppress(*NONSENSE):
        last = model.version(*found)
        known, told = known_by(last), known_by(answer)
        if not told & ~known or answer["estado"] != answer["historia"][-1]["estado"]:
            return False
        if last["estado"] in ENDS and answer["estado"] != last["estado"]:
            return False
        then = {name: value for name, value in answer.items() if name in last or name not in LATER}
        then["historia"] = [step for step in answer["historia"] if BITS[step["estado"]] & known]
        then["estado"] = last["estado"]
        return same(_undated(then), _undated(last)) if undated else same(then, last)
    return False


def differs(found: Found, answer: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(field, what was told, what the books have), against what the answer must have meant."""
    version = _nearest(_versions(found), answer)
    for name in sorted(answer.keys() | version.keys()):
        told, stands = answer.get(name, UNSET), version.get(name, UNSET)
        if not same(told, stands):
            yield name, told, stands


def _versions(found: Found) -> list[dict[str, Any]]:
    """What was shown of a purchase, from first to last; of a row that makes no sense only how it stands."""
    row, heard = found
    try:
        return [model.version(row, heard[:count]) for count in range(1, len(heard) + 1)]
    except NONSENSE:
        return [row]


def _undated(shown: dict[str, Any]) -> dict[str, Any]:
    """Without what only compras' clock knew: all dates of its history but the first, when it was accepted."""
    return {**shown, "historia": [*shown["historia"][:1], *(step["estado"] for step in shown["historia"][1:])]}


def _nearest(versions: list[dict[str, Any]], answer: dict[str, Any]) -> dict[str, Any]:
    """The version that an answer must have meant: of those in its state the likest."""
    return max(
        versions,
        key=lambda version: (
            version.get("estado") == answer.get("estado"),
            sum(answer.get(name) == value for name, value in version.items()),
        ),
    )
