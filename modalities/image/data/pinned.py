"""Sources of torchvision's small sets, and the hashes that their files have."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from toolkit.data import download, store

_CIFAR = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_IDX = tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
_MAX_MEMBER = 64 * 2**20  # bytes; the largest file of any set has 47 million


@dataclass(frozen=True)
class PinnedSet:
    """A data set as torchvision lays it out."""

    folder: str
    hosts: tuple[str, ...]
    """Addresses of folders that have the same files."""
    files: dict[str, tuple[int, str]]
    """Name, bytes and sha256 of each as it is sent."""
    unpacked: int
    """Bytes on disk while it is unpacked, about."""
    sha256: str | None = None
    """`download.sha256_of` the unpacked files, where it is known."""


def _idx(*files: tuple[int, str]) -> dict[str, tuple[int, str]]:
    """Training pictures, training labels, test pictures, test labels."""
    return dict(zip(_IDX, files))


# Bytes and hashes of what is sent are those of torchvision and of one more public list, which agree; that of what
# MNIST unpacks to was taken from a copy.
SETS = {
    "mnist": PinnedSet(
        "MNIST/raw",
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        _idx(
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
        67_000_000,
        "5ca8df6f5f1ba7fdd52aa5e4b4d9097ab1d076d6300d8cd6f9d5171e38d42906",
    ),
    "fashion-mnist": PinnedSet(
        "FashionMNIST/raw",
        (
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        ),
        _idx(
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        86_000_000,
    ),
    "cifar10": PinnedSet(
        "cifar-10-batches-py",
        ("https://www.cs.toronto.edu/~kriz", "https://storage.googleapis.com/tensorflow/tf-keras-datasets"),
        {
            "cifar-10-python.tar.gz": (
                170_498_071,
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            )
        },
        357_000_000,
    ),
}


def fetch(name: str, root: Path, notify: Callable[[str], None]) -> None:
    """Write the data set `name` below `root`, where nothing is yet. Raises download.Refused, StorageError."""
    pinned = SETS[name]
    folder = root / pinned.folder

    def fill(staging: Path) -> bool:
        for file, (size, sha256) in pinned.files.items():
            packed = staging / file
            sources = [f"{host}/{file}" for host in pinned.hosts]
            download.fetch(sources, size, packed, download.has_sha256(sha256), notify)
            _unpack(packed, staging)
            packed.unlink()
        return not folder.exists()

    store.build(folder, pinned.unpacked, fill, name, "set TOOLKIT_DATA", os.path.isdir)


def is_known(name: str, root: Path) -> bool:
    """Return False where a folder below `root` is not what would be downloaded. MNIST takes 0.1 s.

    CIFAR-10 is known: torchvision compares the md5 of each file. Of Fashion-MNIST no such hash is known here.
    """
    pinned = SETS[name]
    if pinned.sha256 is None:
        return True
    try:
        files = [(file[:-3], (root / pinned.folder / file[:-3]).read_bytes()) for file in pinned.files]
    except OSError:  # an older layout of torchvision
        return False
    return download.sha256_of(files) == pinned.sha256


def _unpack(packed: Path, folder: Path) -> None:
    """Write what a file of a known hash holds. Raises download.Refused, and OSError of the disk."""
    try:
        if packed.name.endswith(".tar.gz"):
            with tarfile.open(packed) as archive:
                for name in _CIFAR:
                    member = archive.extractfile(f"cifar-10-batches-py/{name}")
                    if member is None:
                        raise download.Refused(f"{name} in {packed.name} is no file")
                    _write(folder / name, member)  # type: ignore[arg-type]
        else:
            with gzip.open(packed) as stream:
                _write(folder / packed.name[:-3], stream)  # type: ignore[arg-type]
    except (tarfile.TarError, KeyError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise download.Refused(f"{packed.name}: {' '.join(str(error).split())}") from None


def _write(place: Path, stream: BinaryIO) -> None:
    content = stream.read(_MAX_MEMBER + 1)
    if len(content) > _MAX_MEMBER:
        raise download.Refused(f"{place.name} unpacks to more than {_MAX_MEMBER // 2**20} MB")
    place.write_bytes(content)
