"""Says within a second that a dataset is neither here nor to be had.

TFDS itself tries each download eleven times, with pauses that add up to 204 s
(`MAX_RETRIES = 10`, `backoff_factor=0.2` in its `downloader.py`). So the network is asked first.
Nothing here imports TensorFlow or TFDS.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from trainer.data import archives
from trainer.data.archives import Archive
from trainer.errors import BadInput

DEADLINE_SECONDS = 0.8
KNOCK_SECONDS = 3.0
NO_FOLDER = "--dataset={} is not a folder; give its path, or a name of TFDS."
_PORTS = {"http": 80, "https": 443, "ftp": 21}


def is_folder(dataset: str) -> bool:
    """Whether `--dataset` names a place on disk: `/...`, `./...`, `../...` or `~/...`."""
    return dataset.startswith(("/", "./", "../", "~/")) or dataset in (".", "..", "~")


def missing_offline(dataset: str, data_dir: str) -> str | None:
    """Whether a run on this dataset is bound to fail for want of a network.

    Args:
        dataset: As `--dataset` takes it: `name`, `name/config`, `name:version`.
        data_dir: The folder of prepared datasets.

    Returns:
        The refusal, or None where the dataset is prepared, its archives are in the download cache,
        the network is there, or only TFDS can tell.
    """
    if is_folder(dataset):
        there = Path(dataset).expanduser().is_dir()
        return None if there else NO_FOLDER.format(dataset)
    path = dataset.partition(":")[0]
    name = path.partition("/")[0]
    root = Path(data_dir).expanduser()
    wanted = archives.of_name(name)
    if not wanted or any((root / path).rglob("dataset_info.json")):
        return None
    missing = archives.uncached(wanted, root / "downloads", name)
    # Where some are cached, they may be all that the asked config needs: TFDS can tell.
    if missing != wanted or reachable(archive.url for archive in missing):
        return None
    return refusal(dataset, root, missing)


def refusal(dataset: str, data_dir: Path, missing: Sequence[Archive]) -> str:
    """The sentence that tells a person what is missing, and the two ways out."""
    names = ", ".join(map(str, missing[:6])) + (", ..." if len(missing) > 6 else "")
    hosts = ", ".join(sorted({urlsplit(archive.url).hostname or "" for archive in missing}))
    return (
        f"--dataset={dataset} is not prepared in --data_dir={data_dir} and cannot be downloaded: "
        f"{hosts} did not answer within {DEADLINE_SECONDS} s, and {len(missing)} of its files are "
        f"missing: {names}; run --mode=prepare on a machine with internet and bring its data_dir "
        "here, or bring the files and run --mode=prepare --from_files=FOLDER"
    )


def reachable(urls: Iterable[str], seconds: float = DEADLINE_SECONDS) -> bool:
    """Whether a host behind the URLs, or the proxy in front of it, takes a connection in time.

    Args:
        urls: What is to be downloaded.
        seconds: The most that the answer takes, name lookup included.

    Returns:
        False if no host answered; True too where a URL is of a kind that cannot be asked.
    """
    addresses = {_address(url) for url in urls}
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    deadline = time.monotonic() + seconds
    for address in addresses:
        if address is None:
            return True
        # A name lookup takes no timeout and can hang for many seconds: it is left to its thread.
        knock = threading.Thread(target=_knock, args=(address, seconds, answers), daemon=True)
        knock.start()
    try:
        return any(answers.get(timeout=max(0.0, deadline - time.monotonic())) for _ in addresses)
    except queue.Empty:
        return False


def _address(url: str) -> tuple[str, int] | None:
    """Host and port to connect to first for a URL: the server's or the proxy's."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return (
        (parts.hostname, parts.port or _PORTS.get(parts.scheme, 1080)) if parts.hostname else None
    )


def _knock(address: tuple[str, int], seconds: float, answers: queue.SimpleQueue[bool]) -> None:
    try:
        socket.create_connection(address, timeout=seconds).close()
        answers.put(True)
    except (OSError, UnicodeError):  # a host name can be no name at all
        answers.put(False)


def refuse_silence(address: str) -> None:
    """Raises `BadInput` where no dispatcher takes a connection; TensorFlow would wait for ever."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            f"--tf_data_service={address} does not answer ({reason}); start a "
            "tf.data.experimental.service.DispatchServer there, or leave the flag out."
        ) from error
