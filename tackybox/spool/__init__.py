"""The spool: the one place where items are made durable, moved, and freed.

Directories are the state and a transition is one rename (docs/ARCHITECTURE.md has the map). This
package is the only door to rename, link and fsync of items. What it promises: after `Draft.accept`
returns, the item is on disk, data and directory entry; no call removes the last copy of an item
except `Outlet.release` and `Spool.complete`, which say what proof they ask for. What it does not
promise: anything on a disk that lies about fsync. Two file systems under one spool are refused.
"""

from tackybox.spool.bell import Bell
from tackybox.spool.commitments import (
    MOST_REFERENCES,
    CommitmentRequest,
    CommitmentRequests,
    TooManyRequestsError,
)
from tackybox.spool.draft import Blank, Draft
from tackybox.spool.entry import Entry, Lane, State
from tackybox.spool.kept import Kept
from tackybox.spool.landing import Landing
from tackybox.spool.outlet import Outlet
from tackybox.spool.receipts import STORED_BY, Receipt, ReceiptKind, ReceiptLog
from tackybox.spool.reports import Reports
from tackybox.spool.spool import BOX, Space, Spool
from tackybox.spool.whereabouts import Whereabouts, whereabouts

__all__ = [
    "BOX",
    "MOST_REFERENCES",
    "STORED_BY",
    "Bell",
    "Blank",
    "CommitmentRequest",
    "CommitmentRequests",
    "Draft",
    "Entry",
    "Kept",
    "Landing",
    "Lane",
    "Outlet",
    "Receipt",
    "ReceiptKind",
    "ReceiptLog",
    "Reports",
    "Space",
    "Spool",
    "State",
    "TooManyRequestsError",
    "Whereabouts",
    "whereabouts",
]
