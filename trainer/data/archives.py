"""The files that TFDS downloads for a dataset: which there are, which are here, copying them in.

TensorFlow Datasets keeps the URL, size and sha256 of each file in its own package, and a cache at
`<data_dir>/downloads/<dataset>/`: the file, under a name made of URL and digest, and an `.INFO`
beside it. It never reads a cached file's digest again, so what is put there must be whole.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainer.errors import BadInput

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class Archive(NamedTuple):
    """A file that a dataset is made from; `name` is what a browser would save it as."""

    url: str
    name: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.size:,} bytes)"


def _archive(url: str, size: int, sha256: str, name: str | None) -> Archive:
    return Archive(url, name or url.rpartition("/")[2], size, sha256)


def of_name(dataset: str) -> list[Archive]:
    """The archives TFDS has registered for a dataset, found without importing TFDS.

    Returns:
        The archives of all the dataset's configs; none where nothing is registered.
    """
    spec = importlib.util.find_spec("tensorflow_datasets")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    for path in (
        package / "datasets" / dataset / "checksums.tsv",
        package / "url_checksums" / f"{dataset}.txt",
    ):
        if path.is_file():
            rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
            # Two old files have other separators; they count as nothing registered.
            return [_archive(r[0], int(r[1]), r[2], (r + [""])[3]) for r in rows if len(r) >= 3]
    return []


def of_builder(builder: tfds.core.DatasetBuilder) -> list[Archive]:
    """The archives TFDS has registered for a builder, those of its other configs included."""
    return [
        _archive(url, int(info.size), info.checksum, info.filename)
        for url, info in (builder.url_infos or {}).items()
    ]


def uncached(archives: Sequence[Archive], downloads: Path, dataset: str) -> list[Archive]:
    """The archives that TFDS would have to download.

    Args:
        archives: Those the dataset is made from.
        downloads: TFDS's download folder, `<data_dir>/downloads`.
        dataset: The dataset's name, without config and version.
    """
    cached = set()
    # Older releases of TFDS put the files of all datasets into one folder.
    for info_path in (*(downloads / dataset).rglob("*.INFO"), *downloads.glob("*.INFO")):
        if info_path.with_suffix("").exists():
            info = json.loads(info_path.read_text(encoding="utf-8"))
            digest = info.get("url_info", {}).get("checksum")
            cached |= {(url, digest) for url in info.get("urls", [])}
    by_hand = downloads / "manual"
    return [
        archive
        for archive in archives
        if (archive.url, archive.sha256) not in cached and not (by_hand / archive.name).exists()
    ]


def find(wanted: Sequence[Archive], folder: Path, partly: bool) -> dict[Archive, Path]:
    """Finds archives in a folder and verifies them, before anything is copied.

    Args:
        wanted: The archives to find, by their name or, failing that, by their content.
        folder: Where to look; its subfolders are not searched.
        partly: Whether some may be missing (the dataset has configs that don't need them).

    Raises:
        BadInput: A file has the right name and other content, or there is none.
    """
    by_size = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    found = {}
    for archive in wanted:
        candidates = sorted(by_size[archive.size], key=lambda path: path.name != archive.name)
        whole = [path for path in candidates if _sha256(path) == archive.sha256]
        if whole:
            found[archive] = whole[0]
        elif (named := folder / archive.name).is_file():
            raise BadInput(
                f"--from_files={folder}: {named.name} is damaged or another file: TFDS expects "
                f"{archive.size:,} bytes with sha256 {archive.sha256}, found "
                f"{named.stat().st_size:,} bytes with sha256 {_sha256(named)}; "
                f"download it again from {archive.url}"
            )
    absent = [archive for archive in wanted if archive not in found]
    if absent and not (partly and found):
        first = absent[0]
        raise BadInput(
            f"--from_files={folder} lacks {', '.join(a.name for a in absent)}, by name and by "
            f"content: TFDS expects {first.name} to have {first.size:,} bytes with sha256 "
            f"{first.sha256}; download it from {first.url}"
        )
    return found


def copy_in(
    builder: tfds.core.DatasetBuilder, sources: Mapping[Archive, Path], downloads: Path
) -> None:
    """Puts verified archives where TFDS's downloader finds them."""
    from tensorflow_datasets.core.download import resource

    for archive, source in sources.items():
        target = downloads / builder.name / resource.get_dl_fname(archive.url, archive.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, target)
        resource.write_info_file(
            url=archive.url,
            path=target,
            dataset_name=builder.name,
            # TFDS chooses how to extract a file by this name, not by the one on disk.
            original_fname=archive.name,
            url_info=builder.url_infos[archive.url],
        )


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f"{target.name}.tmp.{os.getpid()}")
    try:
        with open(source, "rb") as reader, open(temporary, "wb") as writer:
            shutil.copyfileobj(reader, writer, 2**20)
            writer.flush()
            os.fsync(writer.fileno())  # else a power loss can leave the name on an empty file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
