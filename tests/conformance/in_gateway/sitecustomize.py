"""Found by every Python that the suite starts, through ``PYTHONPATH``; does something in gateways only."""

import os
import sys

if sys.orig_argv[-1:] == ["gateway"] and "EFFERENT_TESTS_TRAFFIC" in os.environ:
    from importlib import import_module
    from pathlib import Path

    import_module("traffic_recorder").install(Path(os.environ["EFFERENT_TESTS_TRAFFIC"]))
