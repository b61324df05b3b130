"""``python -m netperf_exporter``."""

import sys

from netperf_exporter.cli import main

sys.exit(main())
