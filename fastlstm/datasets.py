"""The data sets that come with the package: another name of `fastlstm.data.datasets`."""

from .data.datasets import *  # noqa: F403
from .data.datasets import __all__ as __all__
