"""Every state that a model can reach, breadth first: the first breach that is met is one of the shortest."""

from __future__ import annotations

import gc
from collections import deque
from typing import NamedTuple

from pg_model import Model
from pg_world import World


class Walked(NamedTuple):
    """How many states and steps there were, and, if there was a breach, which, and the steps that led there."""

    states: int
    steps: int
    breach: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.states:,} states, {self.steps:,} steps"]
        lines += [f"{at:3} {name}" for at, name in enumerate(self.trace, start=1)]
        return "\n".join([*lines, f"    {self.breach or 'no breach'}"])


def walk(model: Model) -> Walked:
    """Each state's steps, each once. A breach is a step to what may not be, an end that is none, or steps without
    any fault that come back to where they were: then a shop in which nothing fails any more might never end."""
    # A million tuples, and none of them garbage: looking for some takes half of the time.
    gc.disable()
    try:
        return _walked(model)
    finally:
        gc.enable()


def _walked(model: Model) -> Walked:
    start = model.start()
    numbers: dict[World, int] = {start: 0}
    came: list[tuple[int, str]] = [(-1, "")]
    # Where the steps lead that are nobody's fault.
    fair: list[tuple[int, ...]] = []
    queue, steps = deque([start]), 0

    def breach(what: str, at: int, *last: str) -> Walked:
        trace = list(last)
        while at > 0:
            at, name = came[at]
            trace.insert(0, name)
        return Walked(len(numbers), steps, what, tuple(trace))

    while queue:
        world = queue.popleft()
        here = len(fair)
        following = []
        for step in model.steps(world):
            steps += 1
            if isinstance(step.to, str):
                return breach(step.to, here, step.name)
            number = numbers.setdefault(step.to, len(came))
            if number == len(came):
                came.append((here, step.name))
                queue.append(step.to)
            if not step.fault:
                following.append(number)
        if not following and (wrong := model.end(world)):
            return breach(wrong, here)
        fair.append(tuple(following))
    if (turn := _cycle(fair)) is None:
        return Walked(len(numbers), steps)
    worlds = list(numbers)
    around = [
        next(step.name for step in model.steps(worlds[here]) if step.to == worlds[following])
        for here, following in zip(turn, turn[1:] + turn[:1], strict=True)
    ]
    return breach("and so on for ever", turn[0], *around)


def _cycle(fair: list[tuple[int, ...]]) -> list[int] | None:
    """A cycle, if there is one. It is in what is left when all ends are taken away again and again."""
    before: list[list[int]] = [[] for _ in fair]
    for here, following in enumerate(fair):
        for number in following:
            before[number].append(here)
    left = list(map(len, fair))
    ends = deque(number for number, count in enumerate(left) if not count)
    while ends:
        for number in before[ends.popleft()]:
            left[number] -= 1
            if not left[number]:
                ends.append(number)
    if not any(left):
        return None
    here = next(number for number, count in enumerate(left) if count)
    path: dict[int, None] = {}
    while here not in path:
        path[here] = None
        here = next(number for number in fair[here] if left[number])
    turn = list(path)
    return turn[turn.index(here) :]
