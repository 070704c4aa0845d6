"""Who may send to a daughter.

    modalities = "any" | rule *( ";" rule )
    rule       = ( AE-title | "*" ) "@" ( address | network )      e.g. CT1@10.1.2.3;*@10.1.7.0/24

With nothing set, nobody may. An AE title is what the caller says of itself and proves nothing;
the address is what its TCP connection comes from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tackybox.config import values

ANY_AET = "*"


@dataclass(frozen=True, slots=True)
class ModalityRule:
    """One caller that may send: its AE title (`*` = whichever) and where it calls from."""

    aet: str
    network: IPv4Network | IPv6Network

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        return f"{self.aet}@{self.network.network_address if single else self.network}"


@dataclass(frozen=True, slots=True)
class Modalities:
    """The callers that may send; `anyone` lets every one of them in, whatever the rules."""

    rules: tuple[ModalityRule, ...] = ()
    anyone: bool = False

    def allows(self, aet: str, address: str) -> bool:
        """Whether a caller with this AE title may send from this IP address.

        Spaces around an AE title mean nothing (PS3.5 6.2). A text that is no address is refused.
        """
        if self.anyone:
            return True
        try:
            place = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(place, IPv6Address) and place.ipv4_mapped:
            place = place.ipv4_mapped
        return any(
            rule.aet in (ANY_AET, aet.strip()) and place in rule.network for rule in self.rules
        )

    def knows_aet(self, aet: str) -> bool:
        """Whether a caller with this AE title may send from anywhere at all."""
        return self.anyone or any(rule.aet in (ANY_AET, aet.strip()) for rule in self.rules)

    def __str__(self) -> str:
        if self.anyone:
            return "any"
        return ";".join(map(str, self.rules)) or "nobody"


NOBODY = Modalities()


def parse_modalities(raw: object) -> Modalities:
    """Modalities as the grammar has them; raises ValueError."""
    text = values.joined(raw)
    if text.lower() == "any":
        return Modalities(anyone=True)
    rules = tuple(_rule(part.strip()) for part in text.split(";"))
    for number, rule in enumerate(rules):
        if rule in rules[:number]:
            raise ValueError(f"'{rule}' is there twice; name each caller once")
    return Modalities(rules)


def _rule(part: str) -> ModalityRule:
    aet, at, place = part.rpartition("@")
    if not at:
        raise ValueError(
            f"{part!r} is not a caller; write AET@address or AET@network, such as CT1@10.1.2.3, "
            "or the word any"
        )
    aet = aet.strip() if aet.strip() == ANY_AET else values.ae_title(aet)
    return ModalityRule(aet, _network(re.sub(r"\[(.*)\]", r"\1", place.strip()), part))


def _network(place: str, part: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(place, strict=False)
    except ValueError:
        raise ValueError(
            f"{part!r} has no address; write an IP address or a network such as 10.1.2.0/24"
        ) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"{part!r} is an IPv4 address in IPv6; write it as IPv4")
    if network.network_address != ip_address(place.partition("/")[0]):
        raise ValueError(f"{part!r} is not a network's first address; write {network}")
    return network
