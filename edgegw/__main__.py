"""``python -m edgegw`` is ``edgegw``."""
import sys

from edgegw.cli import main

sys.exit(main())
