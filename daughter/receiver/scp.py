"""The daughter's C-STORE and C-ECHO SCP (PS3.4 Annex B, PS3.7 9.1.1 and 9.1.5).

Promises: 0x0000 is answered only when the item is durable in the spool; the data set's bytes are
those that the peer sent; every storage SOP class, known, private or unknown, is accepted in the
first transfer syntax that is offered with it; a failure has a status, and an association that is
not let in has the reason that PS3.8 table 9-21 gives for it. Bounded against hostile peers: the
length of a PDU, the silence of a socket, the number of associations.
"""

from __future__ import annotations

import threading
import time
from ipaddress import ip_address
from socketserver import BaseServer
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE, _config, evt, sop_class
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from daughter.receiver.acceptance import Acceptance, Offer
from tackybox import logs
from tackybox.config import DaughterConfig
from tackybox.item import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Unknown and private SOP classes are storage too: the archive decides what it takes.
_config.UNRESTRICTED_STORAGE_SERVICE = True
# Its handlers format every message for a log that nobody may read: messages hold patient data.
_config.LOG_HANDLER_LEVEL = "none"

_VERIFICATION = "1.2.840.10008.1.1"
_STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."

# An A-ASSOCIATE-RQ of 128 contexts with all transfer syntaxes stays below this.
_LONGEST_ASSOCIATE_BYTES = 1 << 20
_REJECT_CALLING_AET = (0x01, 0x01, 0x03)  # permanent, service user, calling AE title
_REJECT_CALLED_AET = (0x01, 0x01, 0x07)  # permanent, service user, called AE title


def _tell_storage_from_other_services() -> None:
    """Teach pynetdicom which standard classes are storage: it takes each one it lacks for it."""
    # Palettes, protocols, templates (PS3.4 Annex GG) are.
    sop_class._STORAGE_CLASSES.update(sop_class._NON_PATIENT_OBJECT_CLASSES)
    for uid, (name, kind, _, _, keyword) in UID_dictionary.items():
        is_storage = uid.startswith(_STORAGE_ARC) or (
            "Storage" in name and not name.startswith("Storage Commitment")
        )
        if kind.endswith("SOP Class") and not is_storage and not hasattr(sop_class, keyword):
            setattr(sop_class, keyword, sop_class.SOPClass(uid))


_tell_storage_from_other_services()


def start(config: DaughterConfig, acceptance: Acceptance) -> ThreadedAssociationServer:
    """Listen as `config` says and hand each data set to `acceptance`; returns at once.

    Raises OSError if the address can't be bound.
    """
    ae = AE(config.aet)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_associations = config.max_associations
    ae.maximum_pdu_size = config.max_pdu_bytes
    ae.acse_timeout = config.network_timeout_s
    ae.dimse_timeout = config.dimse_timeout_s
    ae.network_timeout = config.network_timeout_s
    ae.add_supported_context(_VERIFICATION)
    server = ae.make_server(
        (config.bind, config.port),
        evt_handlers=[
            (evt.EVT_C_STORE, _on_store, [acceptance]),
            (evt.EVT_FSM_TRANSITION, _on_transition),
        ],
        server_class=_Server,
        request_handler=_handler_class(config, acceptance),
    )
    threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
    return server


def finish(server: ThreadedAssociationServer, acceptance: Acceptance) -> None:
    """Stop listening, let the data sets in hand be answered, then abort what is still open."""
    server.shutdown()
    acceptance.wait_idle()
    for assoc in server.active_associations:
        assoc.abort()


class _Server(ThreadedAssociationServer):
    """Takes as many connections at once as the kernel queues."""

    request_queue_size = 128

    def shutdown(self) -> None:
        """Stop listening. pynetdicom's own expects the AE to have made the server."""
        BaseServer.shutdown(self)
        self.server_close()


def _handler_class(config: DaughterConfig, acceptance: Acceptance) -> type[RequestHandler]:
    class Handler(RequestHandler):
        """Makes each association with our limits and our door."""

        def _create_association(self) -> Association:
            assoc = super()._create_association()
            _limit(assoc, config)
            assoc.acse = _Door(assoc, config, acceptance)
            return assoc

    return Handler


def _limit(assoc: Association, config: DaughterConfig) -> None:
    """Cap what one recv may ask for, and how long it may take: pynetdicom does neither."""
    sock: Any = assoc.dul.socket
    sock.socket.settimeout(config.network_timeout_s)
    unlimited = sock.recv
    longest_bytes = max(config.max_pdu_bytes, _LONGEST_ASSOCIATE_BYTES)

    def recv(count: int) -> Any:
        if count > longest_bytes:
            raise OSError("PDU longer than negotiated")
        return unlimited(count)

    sock.recv = recv


class _Door(ACSE):
    """Lets in only the modalities that are configured, from where they are configured."""

    def __init__(self, assoc: Any, config: DaughterConfig, acceptance: Acceptance) -> None:
        super().__init__(assoc)
        self._config = config
        self._acceptance = acceptance

    def negotiate_association(self) -> None:
        request: Any = self.requestor.primitive
        calling_aet = request.calling_ae_title.strip()
        address = self.requestor.address
        allowed = self._config.modalities.allows(calling_aet, address)
        if not allowed and not self._is_this_box(calling_aet, address):
            why = "unknown calling AE title"
            if self._config.modalities.knows_aet(calling_aet):
                why = "calling AE title from an address that is not its own"
            self._reject(_REJECT_CALLING_AET, why, calling_aet, address)
        elif self._config.require_called_aet and (
            request.called_ae_title.strip() != self._config.aet
        ):
            self._reject(_REJECT_CALLED_AET, "another called AE title", calling_aet, address)
        else:
            super().negotiate_association()

    def _is_this_box(self, calling_aet: str, address: str) -> bool:
        """Whether `tackybox check` calls: who is on this machine could write its spool anyhow."""
        sock: Any = self.assoc.dul.socket
        return calling_aet == self._config.aet and _is_from_here(
            address, sock.socket.getsockname()[0]
        )

    def _reject(
        self, answer: tuple[int, int, int], why: str, calling_aet: str, address: str
    ) -> None:
        self._acceptance.association_refused(why, calling_aet, address)
        self.requestor.ae_title = calling_aet
        self.send_reject(*answer)
        evt.trigger(self.assoc, evt.EVT_REJECTED, {})
        self.assoc.kill()


def _is_from_here(address: str, called_address: str) -> bool:
    """Whether a caller from `address` is on this machine: on loopback, or at what it calls."""
    place = ip_address(address.partition("%")[0])
    place = getattr(place, "ipv4_mapped", None) or place
    return place.is_loopback or address == called_address


def _on_transition(event: Any) -> None:
    """End what was closed before it requested an association (PS3.8 table 9-10, AA-5).

    pynetdicom waits on for the request, and every such connection, a port check's too, would count
    against `max_associations` for as long as that.
    """
    if (event.current_state, event.next_state) == ("Sta2", "Sta1"):
        event.assoc.dul.to_user_queue.put(None)


def _on_store(event: evt.Event, acceptance: Acceptance) -> int:
    started_s = time.monotonic()
    request: Any = event.request
    requestor = event.assoc.requestor
    offer = Offer(
        sop_class_uid=str(request.AffectedSOPClassUID or ""),
        sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        priority=request.Priority,
        calling_aet=requestor.ae_title.strip(),
        called_aet=str(getattr(requestor.primitive, "called_ae_title", "")).strip(),
        peer_address=requestor.address,
    )
    dataset = request.DataSet.getbuffer() if request.DataSet is not None else b""
    try:
        return acceptance.store(offer, dataset, started_s)
    except Exception as error:  # whatever it is, the peer must hear that we don't have the image
        logs.get("receiver").error("store failed", exc=error)
        return 0x0110
