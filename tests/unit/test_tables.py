"""A stranger's header table: cut and shown, whatever is in it, and never changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_builders import TABLES, double, header, nested, sized

from broker.amqp.tables import entries, readable


@given(TABLES)
def test_a_table_is_cut_into_its_entries(table: bytes) -> None:
    found = list(entries(table))
    assert b"".join(entry.raw for entry in found) == table
    # The rest that cannot be cut has no name.
    assert all(entry.name for entry in found)
    assert [entry.raw[: 1 + len(entry.name)] for entry in found] == [header(entry.name, b"") for entry in found]


@given(TABLES | st.binary(max_size=200))
def test_whatever_is_in_a_table_can_be_shown(table: bytes) -> None:
    assert b"".join(entry.raw for entry in entries(table)) == table
    json.dumps(readable(table))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (sized(b"S", b"text"), "text"),
        (b"I\0\0\0\7", 7),
        (double(1e300), "1e+300"),
        (sized(b"S", b"\xff"), "b'\\xff'"),
        (nested(2), "{'a': {'a': None}}"),
        (nested(500), "3501 bytes that cannot be shown"),
        (b"T" + b"\xff" * 8, "9 bytes that cannot be shown"),
    ],
)
def test_a_value_is_shown_if_it_can_be(value: bytes, shown: object) -> None:
    assert readable(header(b"k", value) + header(b"\xff", b"V")) == {"k": shown, "\ufffd": "None"}
