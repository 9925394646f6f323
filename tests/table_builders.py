"""Header tables as strangers may send them, encoded by hand: pamqp writes only what it likes."""

from __future__ import annotations

from struct import pack

from hypothesis import strategies as st


def header(name: bytes, value: bytes) -> bytes:
    """One entry. `value`: the letter of its type, and its bytes."""
    return bytes([len(name)]) + name + value


def sized(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "big") + content


def double(number: float) -> bytes:
    return b"d" + pack(">d", number)


def nested(depth: int) -> bytes:
    """A table in a table in a table."""
    value = b"V"
    for _ in range(depth):
        value = sized(b"F", header(b"a", value))
    return value


# What RabbitMQ takes: no NaN, no infinity, which Erlang does not know.
FINITE = {"allow_nan": False, "allow_infinity": False}
SCALARS = st.one_of(
    st.just(b"V"),
    st.sampled_from([b"t\0", b"t\1"]),
    st.integers(-128, 127).map(lambda n: b"b" + pack(">b", n)),
    st.integers(0, 255).map(lambda n: b"B" + pack(">B", n)),
    st.integers(-(2**15), 2**15 - 1).map(lambda n: b"s" + pack(">h", n)),
    st.integers(0, 2**16 - 1).map(lambda n: b"u" + pack(">H", n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"I" + pack(">i", n)),
    st.integers(0, 2**32 - 1).map(lambda n: b"i" + pack(">I", n)),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"l" + pack(">q", n)),
    st.floats(width=32, **FINITE).map(lambda n: b"f" + pack(">f", n)),
    st.floats(**FINITE).map(double),
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1)).map(lambda n: b"D" + pack(">BI", *n)),
    st.integers(0, 2**64 - 1).map(lambda n: b"T" + pack(">Q", n)),
    st.binary(max_size=40).map(lambda content: sized(b"S", content)),
    st.text(max_size=20).map(lambda content: sized(b"S", content.encode())),
    st.binary(max_size=40).map(lambda content: sized(b"x", content)),
)
NAMES = st.text("abcñ\x1b[", min_size=1, max_size=8).map(str.encode) | st.binary(min_size=1, max_size=20)


def _tables(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.tuples(NAMES, values).map(lambda pair: header(*pair)), max_size=4).map(b"".join)


VALUES = st.one_of(
    st.recursive(
        SCALARS,
        lambda inner: (
            _tables(inner).map(lambda content: sized(b"F", content))
            | st.lists(inner, max_size=4).map(b"".join).map(lambda content: sized(b"A", content))
        ),
        max_leaves=8,
    ),
    st.sampled_from([nested(500), nested(30), double(1e300), double(-1e39), b"T" + b"\xff" * 8]),
)
# Also what we write ourselves, and what the broker does.
OURS = st.sampled_from([b"x-motivo", b"x-servicio", b"x-hora", b"x-routing-key", b"x-death", b"x-mine", b"ce-id"])
TABLES = st.lists(st.tuples(NAMES | OURS, VALUES).map(lambda pair: header(*pair)), max_size=5).map(b"".join)
