"""Production's code, broken on purpose: each break must be caught within a few worlds."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from msgspec.structs import replace
from sim_broker import Broken
from sim_disk import SimDisk
from sim_world import simulate

from broker.messages import AltaAplicada, SaldoReservado
from services.compras import acceptance
from services.compras.clock import MonotonicClock
from services.compras.resend import Resender
from services.shared.decision import Decision
from services.shared.journal import packer, writer
from services.shared.journal import segments as journal
from services.shared.journal import store as store_json
from services.shared.journal.store import JsonStore
from services.shared.processor import Processor
from services.shared.store import StoreBroken
from services.tokens import domain as tokens
from services.transacciones import domain as transacciones
from services.usuarios import domain as usuarios

# The most worlds that a break may survive: the slowest needs 15.
BOUND = 150
Patch = Callable[[pytest.MonkeyPatch], None]


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store_json, "BIT", dict.fromkeys(store_json.BIT, 0))


def published_before_durable(patch: pytest.MonkeyPatch) -> None:
    async def write(self: Any, data: bytes) -> None:
        if data:
            self.disk.append(self._segments[-1].name, data)

    patch.setattr(JsonStore, "_write", write)


def no_compensation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        tokens, "liberar", lambda token, rechazo: Decision(token, (tokens.rechazar(rechazo, rechazo.motivo),))
    )


def balance_off_by_one(patch: pytest.MonkeyPatch) -> None:
    cobrar = usuarios.cobrar

    def one_less(usuario: Any, reserva: Any) -> Any:
        decision = cobrar(usuario, reserva)
        if decision.messages and isinstance(decision.messages[0], SaldoReservado):
            return Decision(replace(decision.row, saldo=decision.row.saldo + 1), decision.messages)
        return decision

    patch.setattr(usuarios, "cobrar", one_less)


def balance_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    cobrar = usuarios.cobrar

    def on_credit(usuario: Any, reserva: Any) -> Any:
        if usuario is None or usuario.nombre is None:
            return cobrar(usuario, reserva)
        decision = cobrar(replace(usuario, saldo=10**6), reserva)
        return Decision(replace(usuario, saldo=usuario.saldo - reserva.precio), decision.messages)

    patch.setattr(usuarios, "cobrar", on_credit)


def line_forgotten(patch: pytest.MonkeyPatch) -> None:
    vender = tokens.vender

    def only_the_winner(token: Any, pago: Any) -> Any:
        decision = vender(token, pago)
        return Decision(decision.row, decision.messages[:1])

    patch.setattr(tokens, "vender", only_the_winner)


def last_word_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JsonStore, "_last_words", lambda *_: ())


def no_nudge(patch: pytest.MonkeyPatch) -> None:
    async def silent(self: Any, rows: Any) -> None: ...

    patch.setattr(Resender, "_ask", silent)


def epoch_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JsonStore, "_check_epoch", lambda self: None)


def price_changed_while_held(patch: pytest.MonkeyPatch) -> None:
    publicar = tokens.publicar

    def touched(token: Any, alta: Any) -> Any:
        decision = publicar(token, alta)
        row = decision.row
        if row is not None and row.reserva is not None:
            row = replace(row, reserva=replace(row.reserva, precio=row.precio))
        return Decision(row, decision.messages)

    patch.setattr(tokens, "publicar", touched)


def acked_before_stored(patch: pytest.MonkeyPatch) -> None:
    decide = Processor._decide_batch

    async def early(self: Any, batch: Any) -> Any:
        await self._transport.settle([item for item in batch if hasattr(item, "raw")], {})
        return await decide(self, batch)

    patch.setattr(Processor, "_decide_batch", early)


def line_jumped(patch: pytest.MonkeyPatch) -> None:
    liberar = tokens.liberar

    def second_first(token: Any, rechazo: Any) -> Any:
        if token is None or len(token.cola) < 2:
            return liberar(token, rechazo)
        passed_over = tokens.rechazar(tokens._asked(token, token.cola.first()), "token-vendido")
        decision = liberar(replace(token, cola=token.cola.left()), rechazo)
        return Decision(decision.row, (*decision.messages, passed_over))

    patch.setattr(tokens, "liberar", second_first)


def torn_tail_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "has_checksum", bool)


def memory_lost_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    remember = JsonStore._remember

    def only_new(self: Any, entry: Any, segment: int, memory: Any) -> None:
        if memory is not self._dedup:
            remember(self, entry, segment, memory)

    patch.setattr(JsonStore, "_remember", only_new)


def waiting_top_up_lost(patch: pytest.MonkeyPatch) -> None:
    def recargar(usuario: Any, recarga: Any) -> Any:
        row = usuario or usuarios.Usuario(recarga.usuario_id)
        word = AltaAplicada(alta_id=recarga.alta_id, fecha=recarga.fecha)
        return Decision(replace(row, saldo=row.saldo + (recarga.monto if row.nombre else 0)), (word,))

    patch.setattr(usuarios, "recargar", recargar)


def records_numbered_with_gaps(patch: pytest.MonkeyPatch) -> None:
    registrar = transacciones.registrar
    patch.setattr(
        transacciones, "registrar", lambda libro, compra: registrar(transacciones.Libro(libro.ultimo + 1), compra)
    )


def snapshot_without_memory(patch: pytest.MonkeyPatch) -> None:
    write = writer.write_snapshot

    async def forgetful(disk: Any, name: str, previous: Any, rows: Any, touched: Any, *rest: Any) -> None:
        await write(disk, name, previous, rows, {}, *rest)

    patch.setattr(writer, "write_snapshot", forgetful)


def takeover_without_a_sync(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Any) -> None: ...

    patch.setattr(JsonStore, "_write_again", nothing)


def takeover_with_a_sync_only(patch: pytest.MonkeyPatch) -> None:
    async def sync(self: Any) -> None:
        if self._segments:
            await self.disk.sync(self._segments[-1].name)

    patch.setattr(JsonStore, "_write_again", sync)


def half_write_forgotten(patch: pytest.MonkeyPatch) -> None:
    async def write(self: Any, data: bytes) -> None:
        name = self._segments[-1].name
        while data:
            try:
                self.disk.append(name, data)
                break
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise StoreBroken(str(error)) from error
            self._check_epoch()
            await self._sleep(writer.FULL_SECONDS)
        await self.disk.sync(name)

    patch.setattr(JsonStore, "_write", write)


def failed_sync_believed(patch: pytest.MonkeyPatch) -> None:
    sync = SimDisk.sync

    async def deaf(self: Any, name: str) -> None:
        with contextlib.suppress(OSError):
            await sync(self, name)

    patch.setattr(SimDisk, "sync", deaf)


def packed_before_it_is_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimDisk, "sync_aside", lambda self, name: None)


def packed_without_its_end(patch: pytest.MonkeyPatch) -> None:
    once = packer.frames

    def shorter(lines: bytes) -> list[bytes]:
        return once(lines[: lines.rfind(b"\n", 0, -1) + 1] or lines)

    patch.setattr(packer, "frames", shorter)


# `{}`, packed.
NO_ROWS = zstandard.compress(b"{}")


def snapshot_without_rows(patch: pytest.MonkeyPatch) -> None:
    write = writer.write_snapshot

    async def forgetful(disk: Any, name: str, previous: Any, rows: Any, *rest: Any) -> None:
        await write(disk, name, previous, NO_ROWS, *rest)

    patch.setattr(writer, "write_snapshot", forgetful)


def snapshot_without_shelf(patch: pytest.MonkeyPatch) -> None:
    write = writer.write_snapshot

    async def forgetful(*columns: Any) -> None:
        *others, _ = columns
        await write(*others, (b"", b"", b""))

    patch.setattr(writer, "write_snapshot", forgetful)


def another_body_accepted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(acceptance, "_asks_the_same", lambda row, message: True)


def full_line_never_said(patch: pytest.MonkeyPatch) -> None:
    reservar = tokens.reservar

    def refused(token: Any, compra: Any) -> Any:
        if token is not None and token.reserva is not None and not token.vendido:
            return Decision(token, (tokens.rechazar(compra, "token-disputado"),))
        return reservar(token, compra)

    patch.setattr(tokens, "reservar", refused)


def twice_in_line(patch: pytest.MonkeyPatch) -> None:
    impedimento = tokens.impedimento

    def before(token: Any, compra: Any) -> Any:
        return None if (motivo := impedimento(token, compra)) == "ya-en-cola" else motivo

    patch.setattr(tokens, "impedimento", before)


def older_entry_in_force(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens, "moment", lambda fecha: "z" if fecha != "" else fecha)
    patch.setattr(tokens, "publicar", _always(tokens.publicar))


def _always(publicar: Any) -> Any:
    def last_come(token: Any, alta: Any) -> Any:
        return publicar(token and replace(token, publicado="", orden=0), alta)

    return last_come


def one_date_for_all_of_a_moment(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MonotonicClock, "next", lambda fechas, whose, seen="": max(fechas._now(), fechas.last))


# Each, and the promises that may be the first to break.
MUTANTS: dict[Patch, set[str]] = {
    no_dedupe: {"9"},
    published_before_durable: {"durable"},
    no_compensation: {"4"},
    balance_off_by_one: {"1"},
    balance_not_looked_at: {"2"},
    line_forgotten: {"4"},
    last_word_forgotten: {"4"},
    no_nudge: {"4"},
    epoch_ignored: {"7", "8", "15", "durable"},
    price_changed_while_held: {"6"},
    acked_before_stored: {"durable"},
    line_jumped: {"13"},
    torn_tail_believed: {"not damaged", "no crash"},
    memory_lost_at_a_restart: {"4", "8", "9", "no crash"},
    waiting_top_up_lost: {"1"},
    records_numbered_with_gaps: {"5"},
    snapshot_without_memory: {"4", "8", "9", "11"},
    snapshot_without_shelf: {"8", "13"},
    packed_before_it_is_synced: {"not damaged", "no crash"},
    packed_without_its_end: {"not damaged", "no crash", "durable"},
    snapshot_without_rows: {"4", "6", "8", "not damaged"},
    takeover_without_a_sync: {"durable", "not damaged"},
    takeover_with_a_sync_only: {"durable", "not damaged"},
    half_write_forgotten: {"8", "not damaged"},
    failed_sync_believed: {"durable"},
    another_body_accepted: {"10"},
    full_line_never_said: {"13"},
    twice_in_line: {"13"},
    older_entry_in_force: {"entries"},
    one_date_for_all_of_a_moment: {"entries"},
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_break_is_caught(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    for seed in range(BOUND):
        try:
            simulate(seed)
        except Broken as broken:
            print(f"{mutant.__name__} | {broken.promise} | {seed + 1}")
            assert broken.promise in MUTANTS[mutant], broken
            return
    pytest.fail(f"{mutant.__name__} survived {BOUND} worlds")
