"""Every file is written by toolkit/training/storage/files.py, but for what is listed here with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_layers import ROOT, files

HOME = "toolkit/training/storage/files.py"
CALLS = {
    "write_text", "write_bytes", "save", "savefig", "imsave", "tofile", "symlink_to", "hardlink_to",
    "os.open", "os.symlink", "os.link", "shutil.copy", "shutil.copyfile", "shutil.copytree", "shutil.move", "np.savez",
    "tempfile.mkstemp", "NamedTemporaryFile", "tempfile.NamedTemporaryFile",
}  # fmt: skip
STAGED = "into a folder of a random name in the cache, which nobody else can have filled (toolkit/data/store.py)"
MEMORY = "into a stream: memory, or that of files.write_stream_atomic"
ALLOWED = {
    ("toolkit/training/storage/lock.py", "os.open"): "the lock itself, with O_NOFOLLOW",
    ("toolkit/data/store.py", "open"): STAGED,
    ("toolkit/data/store.py", "os.open"): "a folder of the cache, to lock it while two are renamed; it is only read",
    ("toolkit/data/store.py", "save"): STAGED,
    ("modalities/text/data/token_writer.py", "open"): STAGED,
    ("modalities/audio/data/cache.py", "open"): STAGED,
    ("modalities/audio/data/prepare.py", "open"): STAGED,
    ("modalities/audio/data/datasets.py", "write_bytes"): STAGED,
    ("modalities/image/data/pinned.py", "write_bytes"): STAGED,
    ("toolkit/data/download.py", "open"): STAGED,
    ("modalities/image/data/cache.py", "open"): STAGED,
    ("modalities/text/data/spool.py", "open"): "a scratch file of the process, which is not a user's",
    ("toolkit/cli/__init__.py", "os.open"): "/dev/null, for what is printed into a closed pipe",
    ("toolkit/cli/recipes.py", "open"): "mode x, which replaces nothing and follows no link",
    ("modalities/image/modality.py", "save"): MEMORY,
    ("toolkit/cli/data.py", "save"): "a function of remembered.py, not a file",
    ("toolkit/cli/sample.py", "save"): "Samples.save, which is held to this rule itself",
    ("toolkit/training/storage/signals.py", "save"): "a wish, true or false",
    ("toolkit/run/train.py", "save"): "CheckpointStore.save, which writes by files.create",
    ("toolkit/evaluation/folders.py", "symlink_to"): "into a temporary folder of the process",
    ("toolkit/evaluation/folders.py", "shutil.copytree"): "into a temporary folder of the process",
    ("toolkit/evaluation/folders.py", "shutil.copyfile"): "into a temporary folder of the process",
    ("toolkit/run/samples.py", "save"): MEMORY,
    ("toolkit/run/previews.py", "save"): MEMORY,
    ("toolkit/run/previews.py", "savefig"): MEMORY,
    ("toolkit/evaluation/evaluate.py", "save"): MEMORY,
    ("toolkit/report/media.py", "save"): MEMORY,
    ("toolkit/report/paper.py", "save"): MEMORY,
    ("modalities/audio/view/page.py", "save"): MEMORY,
    ("toolkit/view.py", "save"): MEMORY,
}


def writes(tree: ast.AST) -> Iterator[str]:
    """Yield what may write a file: what is in CALLS, called or handed on, and `open` in a mode of writing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ast.unparse(node)
            last = name.rpartition(".")[2]
            if name in CALLS or last in CALLS:
                yield name if name in CALLS else last
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "open":
            texts = [
                one.value for one in (*node.args, *(k.value for k in node.keywords)) if isinstance(one, ast.Constant)
            ]
            if any(isinstance(text, str) and len(text) <= 3 and set(text) & set("wax+") for text in texts):
                yield "open"


def found() -> set[tuple[str, str]]:
    """Return (file, call) of all that may write outside of the writer's home."""
    every = {
        (path.relative_to(ROOT).as_posix(), call)
        for path in files("toolkit", "modalities")
        for call in writes(ast.parse(path.read_text("utf-8")))
    }
    return {(path, call) for path, call in every if path != HOME}


def test_files_are_written_in_one_place() -> None:
    there = found()
    assert there - ALLOWED.keys() == set()
    assert ALLOWED.keys() - there == set()  # or the list lets in more than there is


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.open('wb')", ["open"]),
        ("open(path, 'a', encoding='utf-8')", ["open"]),
        ("path.open(mode='r+')", ["open"]),
        ("open(path, 'rb').read()", []),
        ("path.write_text('x')", ["write_text"]),
        ("picture.save(path)", ["save"]),
        ("(shutil.copytree if a else shutil.copyfile)(b, c)", ["shutil.copyfile", "shutil.copytree"]),
        ("os.open(path, flags)", ["os.open"]),
        ("partial(picture.save, format='PNG')", ["save"]),
        ("NamedTemporaryFile('w')", ["NamedTemporaryFile"]),
        ("write_text_atomic(path, 'w')", []),
    ],
)
def test_the_rule_sees_a_write(source: str, expected: list[str]) -> None:
    assert sorted(writes(ast.parse(source))) == expected
