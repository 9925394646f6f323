"""How many descriptors there are: connections are counted by them."""

from __future__ import annotations

import resource


def raised_descriptors() -> int:
    """As many descriptors as this process may have, now that it asked for all that it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No more than what a loop of this size will ever use; macOS refuses what is unlimited.
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
