"""Export models as C for firmware: one C99 file without libraries, with the bits of a stream."""

from .compiled import Compiled, compiled
from .export import export_c
from .report import CReport

__all__ = ["CReport", "Compiled", "compiled", "export_c"]
