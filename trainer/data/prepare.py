"""Opens a dataset, and downloads and prepares it: once, under a lock, with TFDS."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import io
import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data import archives, offline
from trainer.data.archives import Archive
from trainer.errors import BadInput

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_LOG = logging.getLogger("trainer")

# name[/config][:version]. TFDS also takes a namespace (`huggingface:`), which goes to the network
# for as little as its name, and keyword arguments, which no flag can check.
_NAME = re.compile(r"[a-zA-Z]\w*(/[\w+\-.]+)?(:(\d+|\*)(\.(\d+|\*)){2})?")


def open_builder(dataset: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """Finds a dataset by name; touches neither the network nor TensorFlow.

    Args:
        dataset: `name`, `name/config`, `name:version`: `digits`, which is embedded, or a name that
            TFDS knows, or that of a dataset that lies prepared in `data_dir`.
        data_dir: The folder of prepared datasets.

    Raises:
        BadInput: There is no such dataset, config or version, or what TFDS wrote of it is broken.
    """
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

    from trainer.data import digits  # noqa: F401  (makes it known to TFDS)

    if not _NAME.fullmatch(dataset):
        raise BadInput(
            f"--dataset={dataset} is not of the form name, name/config or name/config:1.2.3."
        )
    try:
        return tfds.builder(dataset, data_dir=str(Path(data_dir).expanduser()))
    except (ParseError, json.JSONDecodeError) as error:
        folder = Path(data_dir) / re.split("[/:]", dataset)[0]
        raise BadInput(
            f"--dataset={dataset} is broken in {folder}: a JSON file there cannot be read; delete "
            "that folder and run --mode=prepare again."
        ) from error
    except (ValueError, AssertionError) as error:
        raise BadInput(f"--dataset={dataset}: {_reason(dataset, data_dir, error)}") from error


def _reason(dataset: str, data_dir: str, error: Exception) -> str:
    """Why TFDS does not take the dataset, with the name that was probably meant."""
    import tensorflow_datasets as tfds

    name, _, config = dataset.partition(":")[0].partition("/")
    # With the community's datasets, the list would be fetched from the network.
    known = tfds.list_builders(with_community_datasets=False)
    if isinstance(error, tfds.core.DatasetNotFoundError):
        near = difflib.get_close_matches(name.lower(), known) or ["mnist", "digits"]
        what = f"none of TFDS's {len(known)} datasets, nor prepared in --data_dir={data_dir}"
        return f"{what}; did you mean {' or '.join(near)}?"
    configs = list(tfds.builder_cls(name).builder_configs)
    if config and config not in configs:
        near = difflib.get_close_matches(config, configs) or configs[:9]
        hint = f"did you mean {' or '.join(near)}?" if near else "leave it out."
        return f"{name} has no config {config}; {hint}"
    # 'Failed to construct dataset "mnist", builder_kwargs "{...}": the reason'
    return " ".join(str(error).rpartition('}": ')[2].split())


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the dataset lies whole in its data_dir: what it says of itself, and each shard."""
    return not lack(builder)


def lack(builder: tfds.core.DatasetBuilder) -> str:
    """The first thing that a prepared dataset lacks on disk; empty where it is whole."""
    if not (builder.data_path / "dataset_info.json").exists():
        return "dataset_info.json"
    if not builder.info.splits:  # prepared by another process after this one opened it
        builder.info.read_from_directory(builder.data_dir)
    for split in builder.info.splits.values():
        for path in split.filepaths:
            if not path.exists():
                return path.name
        # Without the framing of the records, so that every version's count is a lower bound.
        if sum(path.stat().length for path in split.filepaths) < split.num_bytes:
            return f"part of {split.filepaths[0].name}"
    return ""


def prepare(builder: tfds.core.DatasetBuilder, from_files: str = "") -> None:
    """Downloads and prepares a dataset where it is not prepared yet.

    Processes that prepare one dataset at once would remove each other's files: one works, the
    others wait for it and then read what it made.

    Args:
        builder: From `open_builder`; knows its splits when this returns.
        from_files: A folder with the archives that TFDS would download, for a machine without
            internet. They are verified against TFDS's checksums and copied into its download cache.

    Raises:
        BadInput: The network is not there, an archive is missing or damaged, or the data_dir holds
            a broken copy or cannot be written. No half-made file is left behind then.
    """
    folder = Path(from_files).expanduser()
    if from_files and not folder.is_dir():
        raise BadInput(
            f"--from_files={from_files} is not a folder; name the one with the archives."
        )
    if is_prepared(builder):
        _LOG.info("%s is prepared in %s.", builder.info.full_name, builder.data_dir)
        return
    root = Path(builder.data_dir_root)
    if "://" in str(builder.data_dir_root):
        raise BadInput(
            f"--data_dir={builder.data_dir_root} takes no locks; prepare {builder.name} in a local "
            "folder and copy it there."
        )
    sources = _sources(builder, folder, root / "downloads") if from_files else {}
    with _lock(root, builder.name):
        if is_prepared(builder):
            _LOG.info("%s was prepared by another process.", builder.info.full_name)
            return
        if builder.data_path.exists():
            raise BadInput(
                f"--dataset={builder.name} is broken in {builder.data_dir}: it lacks "
                f"{lack(builder)}; delete that folder and run --mode=prepare again."
            )
        _LOG.info("Preparing %s in %s ...", builder.info.full_name, builder.data_dir)
        start = time.monotonic()
        archives.copy_in(builder, sources, root / "downloads")
        _download_and_prepare(builder, root)
        counts = ", ".join(f"{s.name} {s.num_examples:,}" for s in builder.info.splits.values())
        seconds = time.monotonic() - start
        _LOG.info("Prepared %s in %.1f s: %s.", builder.info.full_name, seconds, counts)


def _sources(
    builder: tfds.core.DatasetBuilder, folder: Path, downloads: Path
) -> dict[Archive, Path]:
    wanted = archives.of_builder(builder)
    if not wanted:
        raise BadInput(
            f"--from_files={folder}: TFDS downloads no archives for --dataset={builder.name}; "
            "name the dataset that they belong to."
        )
    missing = archives.uncached(wanted, downloads, builder.name)
    return archives.find(missing, folder, partly=bool(builder.builder_configs))


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Holds `<root>/<name>.lock`; the kernel frees it if this process is killed."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(root / f"{name}.lock", "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise BadInput(f"--data_dir={root} cannot be written: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            _LOG.info("Waiting for %s, which prepares %s.", file.read() or "a process", name)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _download_and_prepare(builder: tfds.core.DatasetBuilder, root: Path) -> None:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, downloader

    downloads = root / "downloads"
    retries = _retries(builder, downloads, downloader.MAX_RETRIES)
    # TFDS keys what it extracts from files brought by hand by their bare names: MNIST prepared
    # after Fashion-MNIST would silently hold Fashion's images. A folder for each dataset mends it.
    config = tfds.download.DownloadConfig(
        extract_dir=downloads / "extracted" / builder.name, try_download_gcs=False
    )
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),  # TFDS prints what the log says better
            tfds.core.utils.temporary_assignment(downloader, "MAX_RETRIES", retries),
        ):
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    except (
        requests.RequestException,
        tfds.download.DownloadError,
        download_manager.NonMatchingChecksumError,
    ) as error:
        raise BadInput(
            f"--dataset={builder.name} could not be downloaded ({' '.join(str(error).split())}); "
            "try again, or bring its files and run --mode=prepare --from_files=FOLDER."
        ) from error


def _retries(builder: tfds.core.DatasetBuilder, downloads: Path, usual: int) -> int:
    """How often to repeat a failing download; refuses where there is no hope of one."""
    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if by_hand and not any((downloads / "manual").glob("*")):
        raise BadInput(
            f"--dataset={builder.name} has files that TFDS may not download; put them into "
            f"{downloads / 'manual'}: {' '.join(by_hand.split())}"
        )
    wanted = archives.of_builder(builder)
    missing = archives.uncached(wanted, downloads, builder.name)
    if not missing or offline.reachable(archive.url for archive in missing):
        return usual
    if missing == wanted or not (builder.builder_configs or by_hand):
        raise BadInput(offline.refusal(builder.name, downloads.parent, missing))
    return 0  # this config may not need the missing ones; if it does, let it fail at once
