"""Worlds of the simulation again: `.venv/bin/python tests/simulation SEED [LAST]`."""

import sys

from sim_broker import Broken
from sim_world import World, simulate


def main(first: int, last: int) -> int:
    broken = 0
    for seed in range(first, last + 1):
        try:
            world = simulate(seed)
            if first == last:
                print(describe(world))
        except Broken as error:
            broken += 1
            print(f"seed {seed}: {error}")
    print(f"{last + 1 - first - broken} worlds kept their promises, {broken} did not")
    return 1 if broken else 0


def describe(world: World) -> str:
    happened = ", ".join(f"{name} {count}" for name, count in sorted(world.counts.items()))
    return f"seed {world.seed}: {world.loop.now:.1f} virtual seconds; {happened}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[-1])))
