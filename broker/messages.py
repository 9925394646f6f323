"""Everything that travels, in the order of a purchase. Each message is a fact in the past tense.

A message's type is its routing key. On the wire it is a JSON body in camelCase with CloudEvents headers
(`amqp/envelope.py` writes those); in Python it is frozen and in snake_case. `CONSUMERS` says who hears what.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from broker.services import Service
from broker.texts import JOINERS, printable

# The largest whole number that every JSON reader keeps exact (RFC 8259, section 6).
MAX_ID: Final = 2**53 - 1
# Money is whole numbers; a sum of a thousand of these still is an exact JSON number.
MAX_MONEY: Final = 10**12

Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
Money = Annotated[int, Field(strict=True, ge=0, le=MAX_MONEY)]
# Of two entries the one with the higher number is in force, then the one with the later `fecha`. A seed's have none.
Orden = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)] | None
Digest = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_MONEY)]


# One purchase's messages all have the same.
@lru_cache(maxsize=1024)
def _a_moment(fecha: str) -> str:
    datetime.fromisoformat(fecha)
    return fecha


def moment(fecha: str) -> str:
    """What two fechas are compared by: as text with its Z, a whole second would come after its own fractions."""
    return fecha.removesuffix("Z")


# A purchase's id: a UUID in its canonical form, so that one purchase never has two spellings.
CompraId = Annotated[
    str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
AltaId = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-z:-]{1,80}$")]
# When compras accepted the request: UTC, RFC 3339, milliseconds unless somebody wrote it by hand.
Fecha = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"),
    AfterValidator(_a_moment),
]


def _one_line(name: str) -> str:
    """Reject what would break a line of a log, a journal or a terminal, what UTF-8 cannot write, what shows nothing."""
    if not printable(name) or not name.strip(JOINERS):
        raise ValueError("must be printable text, without control characters")
    return name


Nombre = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200), AfterValidator(_one_line)]
Imagen = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

# Why a purchase was refused. The first two are usuarios' reasons, the others tokens'.
MotivoSaldo: TypeAlias = Literal["usuario-inexistente", "saldo-insuficiente"]
Motivo: TypeAlias = Literal[
    MotivoSaldo, "token-inexistente", "token-vendido", "token-disputado", "ya-en-cola", "precio-mayor"
]


class Message(BaseModel):
    """What every message has: a type, the id of what it is about, and when compras accepted that."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    # They do not travel. As private attributes of Pydantic's they would cost as much as reading the message.
    __slots__ = ("_body", "_heights", "_received_at")

    type: ClassVar[str]
    fecha: Fecha

    @property
    def received_at(self) -> str:
        """When this service received it (UTC, RFC 3339), or "". It never travels."""
        return getattr(self, "_received_at", "")

    @property
    def heights(self) -> str:
        """Whose book said it, and what that had heard of the others (`heights.py`); "" when nobody knows."""
        try:
            heights: str = object.__getattribute__(self, "_heights")
        except AttributeError:
            return ""
        return heights

    def received(self, received_at: str, heights: str = "") -> Self:
        """Stamp the message with when it was received, and with whose book said it."""
        object.__setattr__(self, "_received_at", received_at)
        return self.said(heights)

    def said(self, heights: str) -> Self:
        """Stamp the message with whose book says it. It travels in a header."""
        object.__setattr__(self, "_heights", heights)
        return self

    @property
    def subject(self) -> str:
        """The id of the purchase or of the operator's entry that this fact belongs to."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """One fact, one id: a copy of a message, and the same fact told again, have the same one."""
        return f"{self.subject}:{self.type}"


class CompraMessage(Message):
    """A fact about one purchase."""

    compra_id: CompraId
    usuario_id: Id
    token_id: Id

    @property
    def subject(self) -> str:
        return self.compra_id


class CompraSolicitada(CompraMessage):
    """compras: a buyer asked, and the request is in the journal."""

    type = "compra.solicitada"
    precio_maximo: Money | None = None


class TokenReservado(CompraMessage):
    """tokens: the token is held for this purchase, at this price."""

    type = "token.reservado"
    precio: Money


class SaldoReservado(CompraMessage):
    """usuarios: the money is taken. From here on the sale can only succeed."""

    type = "saldo.reservado"
    precio: Money


class SaldoRechazado(CompraMessage):
    """usuarios: the money could not be taken."""

    type = "saldo.rechazado"
    motivo: MotivoSaldo


class CompraConfirmada(CompraMessage):
    """tokens: the token is the buyer's."""

    type = "compra.confirmada"
    precio: Money


class CompraRechazada(CompraMessage):
    """tokens: the token is not the buyer's, and why."""

    type = "compra.rechazada"
    motivo: Motivo


class TransaccionRegistrada(CompraMessage):
    """transacciones: the sale is in the book, under this number."""

    type = "transaccion.registrada"
    transaccion_id: Id


class AltaMessage(Message):
    """A fact about one entry by the operator or by a seed file."""

    alta_id: AltaId

    @property
    def subject(self) -> str:
        return self.alta_id


class UsuarioRegistrado(AltaMessage):
    """compras: the operator registers a user, or renames one. `saldo` counts only for a new one."""

    type = "usuario.registrado"
    usuario_id: Id
    nombre: Nombre
    saldo: Money | None = None
    orden: Orden = None


class SaldoRecargado(AltaMessage):
    """compras: the operator adds to a user's money."""

    type = "saldo.recargado"
    usuario_id: Id
    monto: Amount


class TokenPublicado(AltaMessage):
    """compras: the operator puts a token up for sale, or changes what is shown of it. `catalogo` is the digest of all
    that was sent together, in the first of them: under their key nothing else is accepted."""

    type = "token.publicado"
    token_id: Id
    nombre: Nombre
    imagen: Imagen
    precio: Money
    orden: Orden = None
    catalogo: Digest | None = None


class AltaAplicada(AltaMessage):
    """usuarios, tokens: the operator's entry is in force."""

    type = "alta.aplicada"


# Who hears each message. `topology.py` makes the bindings of it.
CONSUMERS: Final[dict[type[Message], tuple[Service, ...]]] = {
    CompraSolicitada: ("tokens",),
    TokenReservado: ("usuarios", "compras"),
    SaldoReservado: ("tokens", "compras"),
    SaldoRechazado: ("tokens", "compras"),
    CompraConfirmada: ("transacciones", "compras"),
    CompraRechazada: ("compras",),
    TransaccionRegistrada: ("compras",),
    UsuarioRegistrado: ("usuarios",),
    SaldoRecargado: ("usuarios",),
    TokenPublicado: ("tokens",),
    AltaAplicada: ("compras",),
}

# Who says each message. A broker that knows its users lets nobody else say it.
PRODUCERS: Final[dict[type[Message], tuple[Service, ...]]] = {
    CompraSolicitada: ("compras",),
    TokenReservado: ("tokens",),
    SaldoReservado: ("usuarios",),
    SaldoRechazado: ("usuarios",),
    CompraConfirmada: ("tokens",),
    CompraRechazada: ("tokens",),
    TransaccionRegistrada: ("transacciones",),
    UsuarioRegistrado: ("compras",),
    SaldoRecargado: ("compras",),
    TokenPublicado: ("compras",),
    AltaAplicada: ("usuarios", "tokens"),
}

TYPES: Final[dict[str, type[Message]]] = {model.type: model for model in CONSUMERS}
# A journal remembers the types it has seen of a purchase as bits: never change the order, only append,
# and see `SEEN_BITS` in services/shared/journal/position.py: it has room for 11.
BIT: Final[dict[str, int]] = {name: 1 << number for number, name in enumerate(TYPES)}

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:zoco:compra")


def compra_id(usuario_id: int, key: str) -> str:
    """The id of the purchase that this buyer asks for under this Idempotency-Key, on any replica, after any crash."""
    return str(uuid5(NAMESPACE, f"{usuario_id}:{key}"))


class Poison(Exception):
    """A message that no service will ever understand. Its text is the reason, fit for a dead letter."""


def encode(message: Message) -> bytes:
    """The JSON body of a message, as it travels. It is asked for twice, for the journal and for the broker."""
    try:
        # Not `message._body`: for what is not there, Pydantic looks in many places.
        body: bytes = object.__getattribute__(message, "_body")
    except AttributeError:
        body = message.model_dump_json(by_alias=True, exclude_none=True).encode()
        object.__setattr__(message, "_body", body)
    return body


def decode(type_name: str, body: bytes, received_at: str = "", heights: str = "") -> Message:
    """Read a body that came by the wire, received at `received_at`. Raises Poison with a reason."""
    model = TYPES.get(type_name)
    if model is None:
        raise Poison(f"unknown type {_short(type_name)!r}; known are {', '.join(TYPES)}")
    try:
        return model.model_validate_json(body, by_alias=True, by_name=False).received(received_at, heights)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"]) or "body"
        raise Poison(_short(f"{type_name}: {_short(where)}: {first['msg']}", 300)) from error


def _short(text: str, length: int = 80) -> str:
    """Foreign text made fit for one line of a log or a terminal."""
    line = "".join(char if char.isprintable() else "?" for char in text[:length])
    return line + "..." if len(text) > length else line


def encode_word(message: Message) -> bytes:
    """A message as a journal keeps it: its body, with the type first."""
    return b'{"type":"%s",' % message.type.encode() + encode(message)[1:]


def from_word(word: dict[str, Any]) -> Message:
    """Read a message back from a journal."""
    body = dict(word)
    return TYPES[body.pop("type")].model_validate(body, by_alias=True, by_name=False)


def subject_of(word: dict[str, Any]) -> str:
    """Whom a message that is still JSON is about: a purchase, or an operator's entry."""
    subject: str = word["compraId"] if "compraId" in word else word["altaId"]
    return subject
