"""Tries the road to each configured mother, as the pusher would take it: `tackybox check` asks.

    python -m daughter.pusher.probe

Prints a line of JSON for each mother, in the configured order: `name`, `ok`, `sentence` (what is
wrong, for people; "" if nothing is), `advice` (what to do about it), `identity` (of her spool; ""
if she did not say) and `clock` (how far hers is before ours: `seconds`, right to within
`uncertainty_s`; null if she did not say the time). Exit code 0 if all let us in, else 69
(EX_UNAVAILABLE). Pushes nothing, and may run beside the pusher; each try ends within half a
minute, and all are made at once.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from daughter.pusher.rsync import Road
from daughter.pusher.trouble import RoadError
from tackybox import service
from tackybox.config import DaughterConfig, MotherAddress, load_daughter
from tackybox.errors import UnavailableError

_AT_ONCE = 16


def run() -> int:
    """Try every mother; the exit code."""
    config = load_daughter()
    addresses = [address for group in config.destinations for address in group.alternatives]
    ok = True
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(lambda address: probe(address, config), addresses):
            print(json.dumps(found), flush=True)
            ok = ok and bool(found["ok"])
    return 0 if ok else UnavailableError.exit_code


def probe(address: MotherAddress, config: DaughterConfig) -> dict[str, Any]:
    """What came of one try."""
    road = Road(address, config)
    sentence = advice = ""
    clock = None
    try:
        road.open()
        clock = road.clock()
    except RoadError as error:
        sentence, advice = str(error), error.advice
    except OSError as error:
        sentence = f"ssh can't be started here: {error.strerror}"
        advice = "install the Debian package openssh-client"
    finally:
        road.discard()
    return {
        "name": address.name,
        "ok": not sentence,
        "sentence": sentence,
        "advice": advice,
        "identity": road.identity,
        "clock": None if clock is None else asdict(clock),
    }


if __name__ == "__main__":
    sys.exit(service.main(run))
