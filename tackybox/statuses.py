"""What an archive's C-STORE answer means for an item: one table, one function.

Sources: PS3.4 table B.2-1 (Storage Service Class), PS3.7 9.1.1.1.9 and Annex C (any DIMSE service).
Promises: `disposition` answers for every 16-bit status and for none at all; only success and
warnings count as delivered, because only those say that the archive keeps the object (PS3.4
B.2.3). Does not promise that an archive means what it says: some answer success for an instance
whose UID they know and throw the new content away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Disposition(StrEnum):
    """What becomes of an item after an answer."""

    DELIVERED = "delivered"  # the archive keeps it
    DELIVERED_WITH_WARNING = "delivered with warning"  # the archive keeps it, and says something
    DEFER = "defer"  # not about this item, or not known: try again later
    QUARANTINE = "quarantine"  # about this item: trying again as it is changes nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """A disposition, what the answer means, and what an operator can do ("" where nothing)."""

    disposition: Disposition
    meaning: str
    remedy: str = ""

    @property
    def delivered(self) -> bool:
        """Whether the archive has the item."""
        return self.disposition in (
            Disposition.DELIVERED,
            Disposition.DELIVERED_WITH_WARNING,
        )


def _warning(meaning: str) -> Outcome:
    return Outcome(Disposition.DELIVERED_WITH_WARNING, meaning)


def _defer(meaning: str, remedy: str = "") -> Outcome:
    remedy = remedy or "Nothing need be done: it is sent again. If it lasts, look at the archive."
    return Outcome(Disposition.DEFER, meaning, remedy)


def _quarantine(meaning: str, remedy: str = "") -> Outcome:
    remedy = remedy or "Ask the vendor of its sender or of the archive to mend it, then retry."
    return Outcome(Disposition.QUARANTINE, meaning, remedy)


_NO_ANSWER = _defer("No answer came: whether the archive has the object is unknown.")
_NOT_IN_STANDARD = _defer(
    "The archive answered with a status that is not in the standard.",
    "It is sent again. If it lasts, ask the archive's vendor what the status means.",
)
_NOT_VALID = _quarantine("The archive finds an attribute or a value of the object not valid.")
_NO_SUCH_CLASS = _quarantine(
    "The archive does not support this kind of object (SOP class).",
    "Have the SOP class enabled at the archive, then retry.",
)
_OTHER_SERVICE = _quarantine(
    "The archive refused with a status that belongs to another service "
    "(no such SOP instance, event, argument or action).",
    "Ask the archive's vendor why it answers so, then retry.",
)
_NOT_THE_OBJECT = _defer(
    "The archive did not understand the request as such "
    "(duplicate invocation, unrecognised operation or mistyped argument).",
    "It is sent again. If it lasts, the two sides disagree on the protocol: report it.",
)

# First and last status, the outcome; the first row that fits is the answer.
_TABLE = (
    (0x0000, 0x0000, Outcome(Disposition.DELIVERED, "The archive has stored the object.")),
    (0x0001, 0x0001, _warning("The archive stored the object and has a remark.")),
    # PS3.7 C.4: warnings
    (0x0107, 0x0107, _warning("The archive stored the object but not all of its attributes.")),
    (0x0116, 0x0116, _warning("The archive stored the object; a value is out of its range.")),
    # PS3.7 C.5: failures
    (0x0105, 0x0106, _NOT_VALID),
    (
        # Archives answer this for a database that is down as well as for an object they dislike.
        *(0x0110, 0x0110),
        _defer(
            "The archive failed while it processed the object, and does not say why.",
            "It is sent again. If the same object always fails, ask the archive's vendor.",
        ),
    ),
    (
        # Not "delivered": which content the archive holds under this UID is not said.
        *(0x0111, 0x0111),
        _quarantine(
            "The archive already holds an object with this SOP Instance UID "
            "and did not take this one.",
            "Compare the two at the archive; if they are the same, nothing is missing.",
        ),
    ),
    (0x0112, 0x0114, _OTHER_SERVICE),
    (0x0115, 0x0115, _NOT_VALID),
    (0x0117, 0x0117, _quarantine("The archive finds the object's SOP instance not valid.")),
    (0x0118, 0x0118, _NO_SUCH_CLASS),
    (0x0119, 0x0119, _NOT_VALID),
    (0x0120, 0x0121, _NOT_VALID),
    (0x0122, 0x0122, _NO_SUCH_CLASS),
    (0x0123, 0x0123, _OTHER_SERVICE),
    (
        *(0x0124, 0x0124),
        _defer(
            "The archive says that this box is not authorised to store there.",
            "Have this box's AE title authorised at the archive; it is sent again by itself.",
        ),
    ),
    (0x0210, 0x0212, _NOT_THE_OBJECT),
    (0x0213, 0x0213, _defer("The archive has too few resources at the moment.")),
    # PS3.4 table B.2-1
    (
        *(0xA700, 0xA7FF),
        _defer(
            "The archive is out of resources, most often disk space.",
            "Make room at the archive; it is sent again by itself.",
        ),
    ),
    (
        *(0xA900, 0xA9FF),
        _quarantine("The archive says that the data set does not match its SOP class."),
    ),
    (0xB000, 0xB000, _warning("The archive stored the object and changed some attributes.")),
    (0xB006, 0xB006, _warning("The archive stored the object and discarded some attributes.")),
    (0xB007, 0xB007, _warning("The archive stored the object; it does not match its SOP class.")),
    (0xB001, 0xBFFF, _warning("The archive stored the object and has a remark of its own.")),
    (0xC000, 0xCFFF, _quarantine("The archive can't understand the object.")),
    # PS3.7 C.3: answers that belong to other services
    (0xFE00, 0xFE00, _defer("The archive answered cancelled, which a C-STORE can't be.")),
    (0xFF00, 0xFF01, _defer("The archive answered pending, which a C-STORE can't be.")),
)


def disposition(status: int | None) -> Outcome:
    """The outcome of a C-STORE answered with `status`; None means that no answer came."""
    if status is None:
        return _NO_ANSWER
    for first, last, outcome in _TABLE:
        if first <= status <= last:
            return outcome
    return _NOT_IN_STANDARD
