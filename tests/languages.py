"""A reader of another language, within this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ops import i18n


@contextmanager
def reading(language: str) -> Iterator[None]:
    before = os.environ["LC_ALL"]
    os.environ["LC_ALL"] = language
    i18n.catalogue.cache_clear()
    try:
        yield
    finally:
        os.environ["LC_ALL"] = before
        i18n.catalogue.cache_clear()
