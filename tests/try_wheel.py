"""What a wheel installed: its compiled module is there, goes with its Python side, and works.

PYTHONPATH=FOLDER python tests/try_wheel.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from state import native  # compares what the compiled module was built of
from state.compiled import COMPILED
from state.tables import new_arena

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert COMPILED is not None, "the wheel has no compiled module: was there a C compiler?"
    for module in (COMPILED, native):
        assert Path(str(module.__file__)).is_relative_to(folder), f"{module.__file__} is not what the wheel installed"
    area = new_arena(1 << 20).table().begin()
    area.begin("u", 1, 1).count_event("view", "shoes", 1.7e9, 0.0, 0.0)
    puts: dict[bytes, bytes | None] = {}
    area.settle((), puts, set())
    area.commit()
    assert [*puts] == [b"uu"]
    wanted = ("streams/py.typed", "streams/ops/templates/base.html", "streams/tools/segments.toml")
    assert all((folder / name).is_file() for name in wanted), "the wheel lacks files that are no Python"
    sys.stdout.write(f"{Path(COMPILED.__file__).name} of the wheel works\n")
