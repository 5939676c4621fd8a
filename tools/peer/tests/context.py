"""Makes the programs of the folder above importable, and names the golden files."""

import os
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = pathlib.Path(os.environ.get("PEER_GOLDEN", FOLDER.parents[1] / "tests" / "golden"))
sys.path.insert(0, str(FOLDER))
