"""What is wrong with a road to a mother: the errors, and what the words of ssh and gate mean.

Every sentence is for the person who must mend it, and says nothing of what ssh knows of files.
"""

from __future__ import annotations

from tackybox.errors import UnavailableError


class RoadError(UnavailableError):
    """The mother can't be reached, or does not do what she is asked; `advice` says what to do."""

    def __init__(self, sentence: str, advice: str = "") -> None:
        super().__init__(sentence)
        self.advice = advice


class DeniedError(RoadError):
    """The mother is there, and does not let our key in."""


class HostKeyError(RoadError):
    """Somebody answers there, with another host key than the pinned one, or none is pinned."""


class NoRoomError(RoadError):
    """The mother has no room for what is pushed; what had arrived before is still there."""


class ReceiptsLostError(RoadError):
    """The mother's receipts end before the cursor: they are not those that were read."""


_AT_HER_INBOX = "is her inbox running, and the port open in every firewall between?"
_FINGERPRINT = "compare the fingerprint by telephone, then put her line into known_hosts"
_OUR_KEY = "put our public key on the mother, under this box's name, or have us enrolled again"
_NOT_OUR_KEY = "it does not know our key (TACKYBOX_SSH_KEY), or has revoked it"
_HER_PORT = "is it the port of her inbox?"
_THE_NETWORK = "have each device on the way looked at: cables, switches, firewalls, VPN"
_HER_ROOM = "make room at the mother"

# What ssh or the gate says, what it means, and what to do. The first that fits decides.
_SENTENCES: tuple[tuple[str, type[RoadError], str, str], ...] = (
    (
        "host key is known for",
        HostKeyError,
        "no host key of hers is pinned (TACKYBOX_KNOWN_HOSTS)",
        _FINGERPRINT,
    ),
    (
        "Host key verification failed",
        HostKeyError,
        "its host key is not the pinned one (TACKYBOX_KNOWN_HOSTS)",
        f"ask why it changed, {_FINGERPRINT}",
    ),
    ("Permission denied", DeniedError, _NOT_OUR_KEY, _OUR_KEY),
    ("this key was revoked", DeniedError, _NOT_OUR_KEY, _OUR_KEY),
    ("this code was used", DeniedError, _NOT_OUR_KEY, _OUR_KEY),
    ("Connection refused", RoadError, "nothing listens at that port", _AT_HER_INBOX),
    (
        "timed out",
        RoadError,
        "it does not answer; is it down, or a firewall in between?",
        _AT_HER_INBOX,
    ),
    ("No route to host", RoadError, "there is no route to it", "mend the network between"),
    ("Network is unreachable", RoadError, "there is no route to it", "mend the network between"),
    ("Could not resolve", RoadError, "its name can't be resolved (DNS)", "is it right, and DNS?"),
    (
        "Name or service not known",
        RoadError,
        "its name can't be resolved (DNS)",
        "is it right, and DNS?",
    ),
    ("invalid format", RoadError, "what answers there is not ssh", _HER_PORT),
    *(
        (word, RoadError, "what answers there hangs up before it says that it is ssh", _HER_PORT)
        for word in (
            "kex_exchange_identification",
            "banner exchange",
            "Connection reset by UNKNOWN",  # a socket that we gave it has no name for ssh
            "connect to host: Connection reset",
        )
    ),
    ("not found", RoadError, "what answers there is no Tackybox gate", _HER_PORT),
    *(
        (word, RoadError, "what we send or hear is damaged on the way", _THE_NETWORK)
        for word in ("Corrupted MAC", "authentication code incorrect", "Bad packet length")
    ),
    ("low-space watermark", NoRoomError, "its disk is full", _HER_ROOM),
    ("No space left", NoRoomError, "its disk is full", _HER_ROOM),
    (
        "Identity file",
        RoadError,
        "our key file can't be read (TACKYBOX_SSH_KEY)",
        "make it, or correct it",
    ),
)


def no_gate() -> RoadError:
    """Something answers, and not as the gate does."""
    return RoadError("what answers there is no Tackybox gate", _HER_PORT)


def another_spool() -> RoadError:
    """Two sessions over one connection came to different spools."""
    return RoadError("her spool is another one than a moment ago")


def in_words(stderr: bytes, otherwise: str) -> RoadError:
    """The error that ssh's or the gate's words stand for; the sentence `otherwise` if none fits."""
    said = stderr.decode("utf-8", "replace")
    for word, kind, sentence, advice in _SENTENCES:
        if word in said:
            return kind(sentence, advice)
    return RoadError(otherwise)
