"""Does a C-FIND list this very image? The proof of archives without storage commitment."""

from __future__ import annotations

from pathlib import Path

from tackybox.config import ArchiveAddress, MotherConfig
from tackybox.dimse.association import Timeouts
from tackybox.dimse.query import Query
from tackybox.item import read_header


class Finder:
    """Asks `address`, on one association that is kept until `close`; for one thread."""

    def __init__(self, config: MotherConfig, address: ArchiveAddress) -> None:
        self._config = config
        self._address = address
        self._query: Query | None = None

    def is_there(self, path: Path) -> bool:
        """Whether the archive lists the image in the Part-10 file at `path`.

        Raises UnavailableError if it can't be asked; DataError or OSError for the file.
        """
        header = read_header(path)
        if self._query is None or not self._query.is_open:
            self.close()
            timeouts = Timeouts(self._config.connect_timeout_s, self._config.dimse_timeout_s)
            self._query = Query.open(self._address, calling_aet=self._config.aet, timeouts=timeouts)
        return self._query.has_image(
            header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
        )

    def close(self) -> None:
        """End the association, if there is one."""
        if self._query is not None:
            self._query.close()
            self._query = None
