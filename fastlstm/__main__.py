"""``python -m fastlstm``: see :mod:`fastlstm.cli`."""

import sys

from fastlstm.cli import main

if __name__ == "__main__":
    sys.exit(main())
