"""What travels: each message has one spelling, and everything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit_builders import EXAMPLES, FECHA, solicitada, steady, token_publicado, usuario_registrado

from broker.messages import (
    BIT,
    CONSUMERS,
    MAX_ID,
    MAX_MONEY,
    PRODUCERS,
    TYPES,
    CompraSolicitada,
    Message,
    Poison,
    compra_id,
    decode,
    encode,
    encode_word,
    from_word,
)
from broker.services import SERVICES
from services.compras.domain import DOMAIN as COMPRAS
from services.shared.journal.position import SEEN_BITS
from services.tokens.domain import DOMAIN as TOKENS
from services.transacciones.domain import DOMAIN as TRANSACCIONES
from services.usuarios.domain import DOMAIN as USUARIOS

GOLDEN = Path(__file__).parent / "golden"
BODIES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["body"] for path in sorted(GOLDEN.glob("*.json"))
}
PURCHASE_TYPES = [name for name, body in BODIES.items() if "compraId" in body]
IDS = {"usuarioId", "tokenId", "transaccionId"}
MONEY = {"precio", "precioMaximo", "saldo", "monto"}
OPTIONAL = {("compra.solicitada", "precioMaximo"), ("usuario.registrado", "saldo")}
FIELDS = [(name, field) for name, body in BODIES.items() for field in body]
NUMBERS = [(name, field) for name, field in FIELDS if field in IDS | MONEY]
TEXTS = [(name, field) for name, field in FIELDS if field not in IDS | MONEY]


def word_of(message: Message) -> dict[str, Any]:
    """What a journal keeps of a message."""
    word: dict[str, Any] = json.loads(encode_word(message))
    return word


def spell(body: dict[str, Any]) -> bytes:
    """JSON as a message has it: no spaces, text as it is."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def with_raw(type_name: str, field: str, raw: str) -> bytes:
    """The golden body, with this JSON, right or wrong, as one field."""
    return spell({**BODIES[type_name], field: "RAW"}).replace(b'"RAW"', raw.encode())


def reason(type_name: str, body: bytes) -> str:
    with pytest.raises(Poison) as refused:
        decode(type_name, body)
    return str(refused.value)


# The golden bodies


def test_every_type_has_a_golden_body_and_every_golden_body_a_type() -> None:
    assert set(BODIES) == set(TYPES) == set(EXAMPLES)


@pytest.mark.parametrize("type_name", TYPES)
def test_a_message_travels_as_its_golden_body_says_byte_for_byte(type_name: str) -> None:
    golden = json.loads((GOLDEN / f"{type_name}.json").read_text(encoding="utf-8"))
    message = EXAMPLES[type_name]

    assert message.type == golden["routingKey"] == type_name
    assert message.id == golden["id"]
    assert encode(message) == spell(golden["body"])


@pytest.mark.parametrize("type_name", TYPES)
def test_a_golden_body_is_read_back_as_the_message_it_was(type_name: str) -> None:
    message = decode(type_name, spell(BODIES[type_name]))

    assert message == EXAMPLES[type_name]
    assert type(message) is TYPES[type_name]


@pytest.mark.parametrize("type_name", TYPES)
def test_the_order_of_keys_in_a_body_means_nothing(type_name: str) -> None:
    backwards = dict(reversed(BODIES[type_name].items()))
    assert decode(type_name, spell(backwards)) == EXAMPLES[type_name]


@pytest.mark.parametrize("type_name", TYPES)
def test_a_journal_keeps_the_body_with_the_type_first_and_gives_the_message_back(type_name: str) -> None:
    message = EXAMPLES[type_name]
    word = word_of(message)

    assert list(word.items()) == [("type", type_name), *BODIES[type_name].items()]
    assert from_word(word) == message
    assert next(iter(word)) == "type", "reading takes nothing out of the word"


@pytest.mark.parametrize(("type_name", "field"), sorted(OPTIONAL))
def test_what_a_message_does_not_say_does_not_travel(type_name: str, field: str) -> None:
    body = {name: value for name, value in BODIES[type_name].items() if name != field}
    message = decode(type_name, spell(body))

    assert encode(message) == spell(body)
    assert word_of(message) == {"type": type_name, **body}


@pytest.mark.parametrize("type_name", TYPES)
def test_a_message_never_changes_once_it_is_made(type_name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EXAMPLES[type_name].fecha = "2030-01-01T00:00:00Z"  # type: ignore[misc]


@steady
@given(
    usuario=st.integers(1, MAX_ID),
    token=st.integers(1, MAX_ID),
    maximo=st.none() | st.integers(0, MAX_MONEY),
    key=st.text(),
)
def test_any_purchase_is_read_back_as_it_was_written(usuario: int, token: int, maximo: int | None, key: str) -> None:
    message = solicitada(usuario, key, token=token, maximo=maximo)
    assert decode(message.type, encode(message)) == from_word(word_of(message)) == message


@steady
@given(nombre=st.text(st.characters(codec="utf-8", categories=("L", "M", "N", "P", "S")), min_size=1, max_size=200))
@example(nombre="Gato Cósmico")
@example(nombre="猫 \U0001f408")
@example(nombre='"\\/{}')
def test_any_printable_name_is_read_back_as_it_was_written(nombre: str) -> None:
    for message in (token_publicado(nombre=nombre), usuario_registrado(nombre=nombre)):
        assert decode(message.type, encode(message)) == message


# When it was received


@pytest.mark.parametrize("type_name", TYPES)
def test_when_a_message_was_received_never_travels(type_name: str) -> None:
    message = decode(type_name, spell(BODIES[type_name]), "2031-01-01T00:00:00.000Z")

    assert message.received_at == "2031-01-01T00:00:00.000Z"
    assert encode(message) == spell(BODIES[type_name])
    assert word_of(message) == {"type": type_name, **BODIES[type_name]}


def test_a_message_that_was_not_received_has_no_hour() -> None:
    assert solicitada().received_at == ""
    assert from_word(word_of(solicitada().received(FECHA))).received_at == ""


@pytest.mark.parametrize("field", ["hora", "_received_at"])
@pytest.mark.parametrize("type_name", TYPES)
def test_nobody_tells_a_service_when_it_received_a_message(type_name: str, field: str) -> None:
    assert reason(type_name, spell({**BODIES[type_name], field: FECHA})).startswith(f"{type_name}: {field}: ")


# Strictness


@pytest.mark.parametrize("type_name", ["", "compra", "compra.pagada", "Compra.Solicitada", "compra.solicitada ", "#"])
def test_an_unknown_type_is_poison_and_the_reason_names_it(type_name: str) -> None:
    assert repr(type_name) in reason(type_name, spell(BODIES["compra.solicitada"]))


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("body", [b"", b" ", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}x", b"{}{}"])
def test_what_is_not_one_json_object_is_poison(type_name: str, body: bytes) -> None:
    assert reason(type_name, body).startswith(f"{type_name}: ")


def test_json_made_to_exhaust_its_reader_is_poison_like_any_other() -> None:
    assert "recursion" in reason("compra.solicitada", with_raw("compra.solicitada", "precioMaximo", "[" * 100_000))
    assert "out of range" in reason("compra.solicitada", with_raw("compra.solicitada", "precioMaximo", "9" * 100_000))


def test_text_that_is_not_utf8_is_poison() -> None:
    body = spell(BODIES["usuario.registrado"]).replace(b"Ana", b"An\xe1")
    assert "usuario.registrado" in reason("usuario.registrado", body)


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("field", ["extra", "type", "id", "", "Fecha"])
def test_a_field_that_nobody_knows_is_refused_by_name(type_name: str, field: str) -> None:
    where = field or "body"
    assert reason(type_name, spell({**BODIES[type_name], field: 1})).startswith(f"{type_name}: {where}: ")


@pytest.mark.parametrize(("type_name", "field"), [pair for pair in FIELDS if pair not in OPTIONAL])
def test_a_field_that_is_missing_is_refused_by_name(type_name: str, field: str) -> None:
    body = {name: value for name, value in BODIES[type_name].items() if name != field}
    assert reason(type_name, spell(body)).startswith(f"{type_name}: {field}: ")


@pytest.mark.parametrize(
    ("type_name", "field"), [pair for pair in FIELDS if any(letter.isupper() for letter in pair[1])]
)
def test_snake_case_is_refused_on_the_wire(type_name: str, field: str) -> None:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    body = {snake if name == field else name: value for name, value in BODIES[type_name].items()}

    reason(type_name, spell(body))
    with pytest.raises(ValidationError):
        from_word({"type": type_name, **body})


@pytest.mark.parametrize("raw", ["1.0", "1e0", '"1"', "true", "NaN", "Infinity", "-Infinity", "[1]", "{}", "-1", "1.5"])
@pytest.mark.parametrize(("type_name", "field"), NUMBERS)
def test_a_number_is_a_whole_number_and_nothing_that_looks_like_one(type_name: str, field: str, raw: str) -> None:
    assert reason(type_name, with_raw(type_name, field, raw)).startswith(f"{type_name}: ")


@pytest.mark.parametrize(("type_name", "field"), NUMBERS)
def test_a_number_within_its_bounds_is_read_and_one_outside_is_refused(type_name: str, field: str) -> None:
    least = 1 if field in IDS | {"monto"} else 0
    most = 9_007_199_254_740_991 if field in IDS else 1_000_000_000_000

    for good in (least, most):
        body = spell({**BODIES[type_name], field: good})
        assert encode(decode(type_name, body)) == body
    for bad in (least - 1, most + 1, 2**64, -(2**64)):
        assert f"{type_name}: {field}: " in reason(type_name, spell({**BODIES[type_name], field: bad}))


@pytest.mark.parametrize("raw", ["1", "1.5", "true", "null", '["x"]', "{}", '""'])
@pytest.mark.parametrize(("type_name", "field"), TEXTS)
def test_a_text_is_a_text(type_name: str, field: str, raw: str) -> None:
    assert reason(type_name, with_raw(type_name, field, raw)).startswith(f"{type_name}: {field}")


@pytest.mark.parametrize(("type_name", "field"), [pair for pair in NUMBERS if pair not in OPTIONAL])
def test_a_number_that_must_be_there_is_not_null(type_name: str, field: str) -> None:
    assert f"{type_name}: {field}: " in reason(type_name, with_raw(type_name, field, "null"))


@pytest.mark.parametrize("type_name", PURCHASE_TYPES)
@pytest.mark.parametrize(
    "spelling",
    [
        "EAB3C56E-FAEB-5F4C-BA48-EBE852CA9BF1",
        "eab3c56E-faeb-5f4c-ba48-ebe852ca9bf1",
        "eab3c56e-faeB-5f4c-ba48-ebe852ca9bf1",
        "eab3c56e-faeb-5f4C-ba48-ebe852ca9bf1",
        "eab3c56e-faeb-5f4c-bA48-ebe852ca9bf1",
        "eab3c56e-faeb-5f4c-ba48-ebe852ca9Bf1",
        "eab3c56efaeb5f4cba48ebe852ca9bf1",
        "{eab3c56e-faeb-5f4c-ba48-ebe852ca9bf1}",
        "urn:uuid:eab3c56e-faeb-5f4c-ba48-ebe852ca9bf1",
        " eab3c56e-faeb-5f4c-ba48-ebe852ca9bf1",
        "eab3c56e-faeb-5f4c-ba48-ebe852ca9bf1\n",
        "eab3c56e-faeb-5f4c-ba48-ebe852ca9bf",
        "eab3c56e-faeb-5f4c-ba48-ebe852ca9bfg",
    ],
)
def test_a_purchase_has_one_spelling_of_its_id(type_name: str, spelling: str) -> None:
    assert "compraId" in reason(type_name, spell({**BODIES[type_name], "compraId": spelling}))


@pytest.mark.parametrize("alta", ["Semilla:1", "semilla 1", "semilla:1\n", "a" * 81, "á", "a/b", "a.b"])
@pytest.mark.parametrize("type_name", [name for name in BODIES if name not in PURCHASE_TYPES])
def test_an_entry_has_a_plain_id(type_name: str, alta: str) -> None:
    assert "altaId" in reason(type_name, spell({**BODIES[type_name], "altaId": alta}))


@pytest.mark.parametrize(
    "nombre", ["a\x00", "a\nb", "\t", "\x1b[31m", "\x7f", "a\x85b", "\u2028", "\u202eanA", "\ufeffAna", "x" * 201]
)
@pytest.mark.parametrize("type_name", ["usuario.registrado", "token.publicado"])
def test_a_name_that_would_break_a_line_or_a_terminal_is_refused(type_name: str, nombre: str) -> None:
    assert f"{type_name}: nombre: " in reason(type_name, spell({**BODIES[type_name], "nombre": nombre}))


def test_half_a_character_is_not_a_name() -> None:
    assert "usuario.registrado" in reason("usuario.registrado", with_raw("usuario.registrado", "nombre", r'"\ud83d"'))
    with pytest.raises(ValidationError):
        usuario_registrado(nombre="\ud83d")


@pytest.mark.parametrize("imagen", ["../tokens.json", "/etc/passwd", ".oculto", "a/b.jpg", "a b.jpg", "a\n", "x" * 101])
def test_an_image_is_the_name_of_a_file_and_never_a_path(imagen: str) -> None:
    assert "imagen" in reason("token.publicado", spell({**BODIES["token.publicado"], "imagen": imagen}))


@pytest.mark.parametrize("good", ["2025-09-10T17:00:00Z", "2025-09-10T17:00:00.1Z", "2025-09-10T17:00:00.123456Z"])
def test_a_fecha_is_utc_with_or_without_a_fraction(good: str) -> None:
    body = spell({**BODIES["compra.solicitada"], "fecha": good})
    assert encode(decode("compra.solicitada", body)) == body


@pytest.mark.parametrize(
    "bad",
    [
        "2025-09-10",
        "2025-09-10T17:00:00",
        "2025-09-10T17:00:00+00:00",
        "2025-09-10 17:00:00Z",
        "2025-09-10t17:00:00z",
        "2025-09-10T17:00:00.Z",
        "2025-09-10T17:00:00.1234567Z",
        "2025-09-10T17:00:00Z\n",
        "1757523600",
    ],
)
@pytest.mark.parametrize("type_name", TYPES)
def test_a_fecha_in_another_spelling_is_refused(type_name: str, bad: str) -> None:
    assert f"{type_name}: fecha: " in reason(type_name, spell({**BODIES[type_name], "fecha": bad}))


@pytest.mark.parametrize("motivo", ["token-vendido", "porque-si", "Saldo-Insuficiente"])
def test_usuarios_has_no_reasons_but_its_own_two(motivo: str) -> None:
    assert "motivo" in reason("saldo.rechazado", spell({**BODIES["saldo.rechazado"], "motivo": motivo}))


def test_the_reasons_for_a_refusal_are_these_seven() -> None:
    reasons = [
        "usuario-inexistente",
        "saldo-insuficiente",
        "token-inexistente",
        "token-vendido",
        "token-disputado",
        "ya-en-cola",
        "precio-mayor",
    ]
    for motivo in reasons:
        body = spell({**BODIES["compra.rechazada"], "motivo": motivo})
        assert encode(decode("compra.rechazada", body)) == body
    for motivo in reasons[:2]:
        body = spell({**BODIES["saldo.rechazado"], "motivo": motivo})
        assert encode(decode("saldo.rechazado", body)) == body
    assert "motivo" in reason("compra.rechazada", spell({**BODIES["compra.rechazada"], "motivo": "otro"}))


def test_a_fecha_is_written_with_ascii_digits() -> None:
    reason("compra.solicitada", spell({**BODIES["compra.solicitada"], "fecha": "٢٠٢٥-09-10T17:00:00Z"}))


@pytest.mark.parametrize("bad", ["2025-99-99T99:99:99Z", "2025-02-30T17:00:00Z", "2025-09-10T24:00:00Z"])
def test_a_fecha_is_a_day_of_the_calendar_and_an_hour_of_the_day(bad: str) -> None:
    reason("compra.solicitada", spell({**BODIES["compra.solicitada"], "fecha": bad}))


@pytest.mark.parametrize("field", ["x" * 100_000, "a\r\nb", "\x1b[31m"])
def test_the_reason_for_poison_is_one_short_line_whatever_the_poison_is(field: str) -> None:
    text = reason("compra.solicitada", spell({**BODIES["compra.solicitada"], field: 1}))
    assert text.isprintable()
    assert len(text) <= 1_000


def test_the_reason_for_an_unknown_type_is_short_however_long_the_type_is() -> None:
    assert len(reason("x" * 100_000, b"{}")) <= 1_000


def test_who_sends_a_wrong_motivo_is_told_all_the_right_ones() -> None:
    text = reason("compra.rechazada", spell({**BODIES["compra.rechazada"], "motivo": "otro"}))
    assert text.startswith("compra.rechazada: motivo: ")
    assert "'saldo-insuficiente'" in text
    assert "'token-vendido'" in text


# Ids


def test_a_purchase_id_is_made_of_the_buyer_and_the_key_and_will_be_the_same_for_ever() -> None:
    assert compra_id(1, "k") == "77a6c733-6b1a-5dd5-a480-64a90afc8303"
    assert compra_id(2, "k") == "c5dd2f60-7092-531c-8729-7f99ea62cf7d"
    assert compra_id(1, "K") == "ec03cfe2-cd8c-56d3-9d21-05ea6d52e905"


@steady
@given(st.lists(st.tuples(st.integers(1, MAX_ID), st.text()), unique=True))
@example([(1, "1:k"), (11, "k"), (1, "1:1:k"), (1, ""), (1, ":"), (1, " ")])
def test_another_buyer_or_another_key_is_another_purchase(pairs: list[tuple[int, str]]) -> None:
    assert len({compra_id(usuario, key) for usuario, key in pairs}) == len(pairs)


@pytest.mark.parametrize("key", ["", "k", "k" * 255, "ñ", "a:b"])
def test_a_purchase_id_is_canonical_and_so_fit_to_travel(key: str) -> None:
    assert solicitada(key=key).compra_id == compra_id(1, key)


def test_a_copy_of_a_message_has_its_id_and_another_fact_about_the_same_purchase_has_not() -> None:
    ids = [EXAMPLES[name].id for name in PURCHASE_TYPES]
    assert len(set(ids)) == len(ids)
    assert {message.id.rsplit(":", 1)[0] for message in map(EXAMPLES.get, PURCHASE_TYPES) if message} == {
        compra_id(1, "golden")
    }
    assert solicitada(maximo=1).id == solicitada(maximo=2).id


@pytest.mark.parametrize("type_name", TYPES)
def test_what_a_message_is_about_and_its_type_are_read_from_its_id(type_name: str) -> None:
    message = EXAMPLES[type_name]
    assert message.id.rsplit(":", 1) == [message.subject, type_name]


# Who says what, and who hears it: the table of design.md, section 3

TABLE = {
    "compra.solicitada": ({"compras"}, {"tokens"}),
    "token.reservado": ({"tokens"}, {"usuarios", "compras"}),
    "saldo.reservado": ({"usuarios"}, {"tokens", "compras"}),
    "saldo.rechazado": ({"usuarios"}, {"tokens", "compras"}),
    "compra.confirmada": ({"tokens"}, {"transacciones", "compras"}),
    "compra.rechazada": ({"tokens"}, {"compras"}),
    "transaccion.registrada": ({"transacciones"}, {"compras"}),
    "usuario.registrado": ({"compras"}, {"usuarios"}),
    "saldo.recargado": ({"compras"}, {"usuarios"}),
    "token.publicado": ({"compras"}, {"tokens"}),
    "alta.aplicada": ({"usuarios", "tokens"}, {"compras"}),
}


def test_who_says_and_who_hears_each_message_is_as_the_design_has_it() -> None:
    assert {name: (set(PRODUCERS[model]), set(CONSUMERS[model])) for name, model in TYPES.items()} == TABLE


def test_every_kind_of_message_has_somebody_who_says_it_and_somebody_who_hears_it() -> None:
    models = {model for model in _descendants(Message) if "type" in vars(model)}
    assert models == set(CONSUMERS) == set(PRODUCERS) == set(TYPES.values())
    for services in (*CONSUMERS.values(), *PRODUCERS.values()):
        assert services
        assert len(set(services)) == len(services)
        assert set(services) <= set(SERVICES)


def test_there_are_these_four_services() -> None:
    assert SERVICES == ("compras", "tokens", "usuarios", "transacciones")


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("domain", [COMPRAS, TOKENS, USUARIOS, TRANSACCIONES], ids=lambda domain: domain.name)
def test_a_service_decides_what_it_hears_and_asserts_that_it_hears_nothing_else(domain: Any, type_name: str) -> None:
    message = EXAMPLES[type_name]
    # compras decides what it is asked for by HTTP, and then says it.
    known = domain.name in CONSUMERS[type(message)] or (domain is COMPRAS and "compras" in PRODUCERS[type(message)])
    try:
        domain.decide(None, message)
    except AssertionError as error:
        assert known != ("does not hear" in str(error))
    else:
        assert known


def test_the_dedup_index_has_room_for_every_type() -> None:
    assert len(BIT) <= SEEN_BITS, "a bit more would be read as a part of a place: see CONTRIBUTING.md"


def test_the_bits_in_the_journals_never_change() -> None:
    assert BIT == {
        "compra.solicitada": 1,
        "token.reservado": 2,
        "saldo.reservado": 4,
        "saldo.rechazado": 8,
        "compra.confirmada": 16,
        "compra.rechazada": 32,
        "transaccion.registrada": 64,
        "usuario.registrado": 128,
        "saldo.recargado": 256,
        "token.publicado": 512,
        "alta.aplicada": 1024,
    }


def test_a_purchase_without_a_highest_price_accepts_any() -> None:
    assert CompraSolicitada(compra_id=compra_id(1, "k"), usuario_id=1, token_id=1, fecha=FECHA).precio_maximo is None


def _descendants(model: type[Message]) -> set[type[Message]]:
    return {model, *(each for child in model.__subclasses__() for each in _descendants(child))}
