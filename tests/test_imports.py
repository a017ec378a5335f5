"""What a fresh ``import fastlstm`` loads: nothing that only some of its users need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import fastlstm
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_heavy_packages_are_imported_where_they_are_used(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fastlstm" in loaded
    assert not loaded & {"matplotlib", "onnx", "onnxruntime", "pandas", "safetensors", "sklearn", "torch", "tqdm"}
