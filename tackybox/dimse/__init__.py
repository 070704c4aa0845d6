"""The DIMSE edge: everything that speaks DICOM's network protocol as a client, and a small archive.

With `daughter/receiver/scp.py` the only door to pynetdicom. What pynetdicom and pydicom have as
settings of the process is set here, once.
"""

import logging
import warnings

from pynetdicom import _config

from tackybox import by_pydicom  # noqa: F401 - its settings are for all that pydicom does here

# Their log lines and warnings quote what peers and files say; our results carry the reasons.
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")
