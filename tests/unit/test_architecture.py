"""Who may import what (DESIGN, section 10), read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.plain.cells import Cells
from state.plain.ids import Ids
from state.plain.links import Edges, Members
from state.plain.record import PlainRecord

ROOT = Path(__file__).resolve().parents[2]
OURS = ("streams", "state", "encoders")
FILES = sorted(path.relative_to(ROOT).as_posix() for package in OURS for path in (ROOT / package).rglob("*.py"))

#: room → rooms of ours that it may import besides itself; app level: streams/*.py but settings.py
ROOMS: dict[str, set[str]] = {
    "state": set(),
    "encoders": set(),
    "settings": set(),
    "wire": set(),
    "rules": {"wire", "state"},
    "steps": {"rules", "wire", "state", "encoders"},
    "ops": {"wire"},
    "kafka": {"rules", "steps", "wire", "state", "encoders", "ops", "settings"},
    "app": {"kafka", "rules", "steps", "wire", "state", "encoders", "ops", "settings"},
    "tools": {"app", "kafka", "rules", "steps", "wire", "state", "encoders", "ops", "settings"},
}
#: package → where alone it may be imported (a file, or a folder that ends in /)
OWNERS: dict[str, tuple[str, ...]] = {
    "faust": ("streams/kafka/", "streams/app.py"),
    "mode": ("streams/kafka/", "streams/app.py"),
    "aiokafka": ("streams/kafka/", "streams/app.py"),
    "rocksdict": ("state/store.py",),
    "transformers": ("encoders/text.py",),
    "torch_geometric": ("encoders/sage.py",),
    # who imports these imports torch: half a gigabyte and seconds, which a worker must not have
    "torch": ("encoders/text.py", "encoders/sage.py", "encoders/int8.py", "encoders/cuda.py", "encoders/device.py"),
    "river": ("encoders/heads", "streams/steps/clean.py"),
    "pickle": (),
    "cloudpickle": (),
    "dill": (),
    "shelve": (),
}
#: the core is pure: these rooms know no Kafka, no clock and no randomness but that of a seed
PURE = ("state", "encoders", "rules", "steps")
CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
MOST_LINES = 400


def room_of(file: str) -> str:
    parts = file.split("/")
    if parts[0] != "streams":
        return parts[0]
    if len(parts) > 2:
        return parts[1]
    return "settings" if parts[1] == "settings.py" else "app"


def tree_of(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"), file)


def imports(file: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, also those within functions; ``from a import b`` names both a and a.b."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: write imports from the top, as in `from state import layout`"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def room_of_module(module: str) -> str | None:
    """The room of a module of ours; None for others and for the bare packages."""
    package, _, rest = module.partition(".")
    if package not in OURS:
        return None
    if package != "streams":
        return package
    first = rest.split(".")[0]
    if not first:
        return None
    return first if (ROOT / "streams" / first).is_dir() else room_of(f"streams/{first}.py")


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a chain of names; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def test_every_source_has_a_room() -> None:
    assert len(FILES) > 40
    assert {room_of(file) for file in FILES} <= set(ROOMS)
    assert {file for file in FILES if room_of(file) == "app"} == {
        "streams/__init__.py",
        "streams/app.py",
        "streams/auditing.py",
        "streams/loading.py",
        "streams/service.py",
    }


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_one_way(room: str) -> None:
    wrong = []
    for file in FILES:
        if room_of(file) != room:
            continue
        for line, module in imports(file):
            target = room_of_module(module)
            if target is not None and target != room and target not in ROOMS[room]:
                wrong.append(f"{file}:{line} imports {module}")
    assert wrong == []


def test_the_rooms_themselves_have_no_circle() -> None:
    def below(room: str, path: tuple[str, ...] = ()) -> None:
        assert room not in path, " → ".join((*path, room))
        for other in ROOMS[room]:
            below(other, (*path, room))

    for room in ROOMS:
        below(room)


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_a_package_is_imported_only_where_it_belongs(package: str) -> None:
    wrong = [
        f"{file}:{line} imports {module}"
        for file in FILES
        for line, module in imports(file)
        if module.split(".")[0] == package and not file.startswith(OWNERS[package])
    ]
    assert wrong == []


def test_the_pure_rooms_and_the_wire_know_no_kafka() -> None:
    wrong = [
        f"{file}:{line} imports {module}"
        for file in FILES
        for line, module in imports(file)
        if room_of(file) in (*PURE, "wire") and module.split(".")[0] == "confluent_kafka"
    ]
    assert wrong == []


def test_the_pure_rooms_read_no_clock() -> None:
    wrong = []
    for file in FILES:
        if room_of(file) not in PURE:
            continue
        wrong += [f"{file}:{line} imports {module}" for line, module in imports(file) if module in CLOCKS]
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Attribute) and dotted(node).removeprefix("datetime.") in CLOCKS | {"now", "today"}:
                wrong.append(f"{file}:{node.lineno} uses {dotted(node)}")
    assert wrong == []


def test_the_pure_rooms_draw_only_from_seeds() -> None:
    wrong = []
    for file in FILES:
        if room_of(file) not in PURE:
            continue
        for line, module in imports(file):
            if module.split(".")[0] in ("random", "secrets", "uuid") or module.startswith("numpy.random"):
                wrong.append(f"{file}:{line} imports {module}")
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            seeded = name == "np.random.default_rng" and (node.args or node.keywords)
            if name.startswith(("np.random.", "numpy.random.", "torch.rand", "os.urandom")) and not seeded:
                wrong.append(f"{file}:{node.lineno} calls {name} without a seed")
    assert wrong == []


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {file: len((ROOT / file).read_text("utf-8").splitlines()) for file in FILES}
    assert {file: length for file, length in lengths.items() if length > MOST_LINES} == {}


CORE = sorted((ROOT / "state/c/core").glob("*.[ch]"))


def test_the_compiled_core_knows_no_python() -> None:
    """It is tested, fuzzed and run without the interpreter's lock: no object may be in its reach (ADR 0042)."""
    assert CORE
    own, wrong = {file.name for file in CORE}, []
    for file in CORE:
        text = file.read_text("utf-8")
        wrong += [
            f"{file.name} includes {name}" for name in re.findall(r'#\s*include\s*"(.*)"', text) if name not in own
        ]
        wrong += [
            f"{file.name} includes {name}" for name in re.findall(r"#\s*include\s*<(.*)>", text) if "ython" in name
        ]
        wrong += [f"{file.name} says {name}" for name in re.findall(r"\bPy[A-Z_]\w*", text)]
    assert wrong == []


def test_no_file_of_the_compiled_core_is_longer_than_four_hundred_lines() -> None:
    lengths = {file.name: len(file.read_text("utf-8").splitlines()) for file in CORE}
    assert {file: length for file, length in lengths.items() if length > MOST_LINES} == {}


def test_the_compiled_core_gets_memory_in_one_place() -> None:
    """There tests make it fail (ADR 0042)."""
    takes = re.compile(r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|mmap)\(")
    assert [file.name for file in CORE if file.name != "memory.c" and takes.search(file.read_text("utf-8"))] == []


#: what is not to be known outside of ``state``: where the twin of a record, and its parts, hold what they have
HIDDEN = {name for name in vars(PlainRecord("u")) if name.startswith("_")} | {
    name for part in (Cells, Edges, Ids, Members) for name in part.__slots__ if name.startswith("_")
}


def reaches_into_a_record(file: str) -> Iterator[str]:
    """Where the file names what a record of Python, or a part of it, holds, and it is not its own."""
    for node in ast.walk(tree_of(file)):
        match node:
            case ast.Attribute(attr=name) if name in HIDDEN and dotted(node.value) != "self":
                yield f"{file}:{node.lineno} {name}"
            case ast.keyword(arg=str(name)) if name in HIDDEN:
                yield f"{file}:{node.value.lineno} {name}"


def test_nobody_outside_of_state_knows_how_a_record_is_held() -> None:
    assert {"_counters", "_held", "_tail"} <= HIDDEN
    files = [file for file in FILES if room_of(file) != "state"]
    others = [path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    files += [path.relative_to(ROOT).as_posix() for path in others]
    assert [place for file in files for place in reaches_into_a_record(file)] == []
