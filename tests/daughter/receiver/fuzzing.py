"""What must hold of an association whatever the peer sends; for `fuzz` and `test_fuzz`.

Nothing is raised; a data set is finished only when its message was answered; what was begun is
finished or closed; and no more is stored than was sent.
"""

from __future__ import annotations

from collections.abc import Callable

from daughter.receiver.acceptance import Offer
from daughter.receiver.association import Association
from daughter.receiver.scp import Door
from daughter.receiver.wire import Gone
from tackybox.config import DaughterConfig
from tackybox.config.addresses import parse_mothers
from tackybox.config.modalities import parse_modalities
from tackybox.dimse import messages
from tackybox.item import command_contradiction
from tests.daughter.receiver.dialogue import (
    ABORT,
    RELEASE_RQ,
    associate_rq,
    c_echo,
    c_store,
    data_set,
    fragments,
    message,
    p_data,
    statuses,
)

_PIECE_BYTES = 37  # odd and small, so that every read is cut somewhere

CONFIG = DaughterConfig(
    name="north", aet="RELAY", spool=None, modalities=parse_modalities("any"),  # type: ignore[arg-type]
    destinations=parse_mothers("relay@127.0.0.1:2222"),
)  # fmt: skip
DOOR = Door(CONFIG)

SEEDS = [
    associate_rq() + message(1, c_store(1, "1.2.3"), data_set("1.2.3", 512)) + RELEASE_RQ,
    associate_rq() + message(5, c_echo(1)) + ABORT,
    associate_rq()
    + p_data(*fragments(1, c_store(1, "1.2.3"), [3, 9], messages.IS_COMMAND))
    + p_data(*fragments(1, data_set("1.2.3", 256), [1, 60], 0))
    + message(3, c_store(2, "1.2.4"), b"\x08\x00\x18\x00\x06\x00\x00\x001.2.4\x00")
    + RELEASE_RQ,
]
AFTER_NEGOTIATION = len(associate_rq())


class Script:
    """A wire on which exactly `said` comes."""

    def __init__(self, said: bytes) -> None:
        self._said = memoryview(said)
        self.answers: list[bytes] = []
        self.is_closed = False

    def take(self, count: int) -> bytes:
        if count > len(self._said):
            raise Gone
        taken, self._said = self._said[:count], self._said[count:]
        return bytes(taken)

    def piece(self, most: int) -> memoryview:
        if not self._said:
            raise Gone
        return memoryview(self.take(min(most, _PIECE_BYTES, len(self._said))))

    def has_more(self) -> bool:
        return bool(self._said)

    def send(self, answer: bytes) -> None:
        self.answers.append(answer)

    def close(self, *, farewell: bool = False) -> None:
        self.is_closed = True


class Receptions:
    """Stands for the spool: takes everything and counts."""

    def __init__(self) -> None:
        self.begun: list[Receptions.One] = []

    def blank(self) -> None:
        return None

    def begin(self, offer: Offer, blank: None) -> One:
        self.begun.append(self.One(offer))
        return self.begun[-1]

    def association_refused(self, why: str, calling_aet: str, peer_address: str) -> None:
        pass

    class One:
        def __init__(self, offer: Offer) -> None:
            self.offer, self.data = offer, b""
            self.is_finished = self.is_closed = False

        def write(self, piece: memoryview) -> None:
            assert not self.is_finished
            self.data += piece

        def finish(self) -> int:
            assert not self.is_finished
            self.is_finished = True
            offer = self.offer
            command_contradiction(
                self.data, offer.sop_class_uid, offer.sop_instance_uid, offer.transfer_syntax_uid
            )
            return 0

        def tell(self) -> None:
            assert self.is_finished

        def close(self) -> None:
            self.is_closed = True


def check(said: bytes) -> None:
    """Hold one dialogue; AssertionError, or whatever it raises, if something is wrong."""
    wire, receptions = Script(said), Receptions()
    enter: Callable[[], bool] = lambda: True  # noqa: E731
    Association(
        wire, DOOR, receptions, ("127.0.0.1", "127.0.0.1"), enter, CONFIG.max_pdu_bytes  # type: ignore[arg-type]
    ).run()  # fmt: skip
    assert wire.is_closed
    finished = sum(one.is_finished for one in receptions.begun)
    stored = [status for _, _, status in statuses(wire.answers) if status == 0]
    assert finished <= len(stored)
    assert all(one.is_finished or one.is_closed for one in receptions.begun)
    assert sum(len(one.data) for one in receptions.begun) <= len(said)
