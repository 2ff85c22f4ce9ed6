"""Without a network, a dataset that is not here is refused at once and by name."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from trainer.data import archives, offline
from trainer.data.prepare import is_prepared, open_builder, prepare
from trainer.errors import BadInput


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10", "tiny_shakespeare"])
def test_archives_are_known_without_tfds(tmp_path: Path, dataset: str) -> None:
    wanted = archives.of_builder(open_builder(dataset, str(tmp_path)))
    assert wanted
    assert archives.of_name(dataset) == wanted


def test_offline_is_answered_within_a_second(tmp_path: Path, no_network: None) -> None:
    start = time.monotonic()
    for dataset in ("mnist", "fashion_mnist", "cifar10", "tiny_shakespeare"):
        refusal = offline.missing_offline(dataset, str(tmp_path)) or ""
        assert f"--dataset={dataset} is not prepared in --data_dir={tmp_path}" in refusal
        assert "--mode=prepare --from_files=FOLDER" in refusal
    assert time.monotonic() - start < 3
    refusal = offline.missing_offline("mnist", str(tmp_path)) or ""
    assert f"storage.googleapis.com did not answer within {offline.DEADLINE_SECONDS} s" in refusal
    assert "t10k-labels-idx1-ubyte.gz (4,542 bytes)" in refusal

    builder = open_builder("mnist", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(BadInput) as refused:
        prepare(builder)
    assert time.monotonic() - start < 3
    assert str(refused.value) == refusal
    assert [path.name for path in tmp_path.iterdir()] == ["mnist.lock"]


def test_missing_offline_imports_neither_tensorflow_nor_tfds(
    tmp_path: Path, no_network: None
) -> None:
    script = (
        "import sys; from trainer.data.offline import missing_offline;"
        f"assert missing_offline('mnist', {str(tmp_path)!r});"
        "assert not {'tensorflow', 'tensorflow_datasets', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize("dataset", ["digits", "no_such_dataset", ""])
def test_missing_offline_leaves_what_it_cannot_tell_to_tfds(
    tmp_path: Path, no_network: None, dataset: str
) -> None:
    assert offline.missing_offline(dataset, str(tmp_path)) is None


def test_a_folder_is_there_or_not(tmp_path: Path) -> None:
    assert offline.missing_offline(str(tmp_path), "data") is None
    refusal = offline.missing_offline(f"{tmp_path}/nowhere", "data")
    assert refusal == f"--dataset={tmp_path}/nowhere is not a folder; " + (
        "give its path, or a name of TFDS."
    )


def test_a_dataset_with_configs_is_not_refused_for_another_configs_archives(
    tmp_path: Path, no_network: None
) -> None:
    wanted = archives.of_name("glue")
    downloads = tmp_path / "downloads"
    cached = downloads / "glue" / "cola.zip"
    cached.parent.mkdir(parents=True)
    cached.touch()
    info = f'{{"urls": ["{wanted[0].url}"], "url_info": {{"checksum": "{wanted[0].sha256}"}}}}'
    cached.with_name("cola.zip.INFO").write_text(info)
    assert archives.uncached(wanted, downloads, "glue") == wanted[1:]
    assert offline.missing_offline("glue/cola", str(tmp_path)) is None

    # TFDS wants another one after all: it fails at once, not after 204 s.
    start = time.monotonic()
    with pytest.raises(BadInput, match="--dataset=glue could not be downloaded"):
        prepare(open_builder("glue/sst2", str(tmp_path)))
    assert time.monotonic() - start < 20
    assert not is_prepared(open_builder("glue/sst2", str(tmp_path)))


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_proxy_is_asked_in_place_of_the_host(
    monkeypatch: pytest.MonkeyPatch, no_network: None, listener: int
) -> None:
    assert not offline.reachable(["https://no-such-host.invalid/file"])
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{listener}")
    assert offline.reachable(["https://no-such-host.invalid/file"])
    assert not offline.reachable(["http://no-such-host.invalid/file"])
    assert offline.reachable(["http://no-such-host.invalid/1", "https://no-such-host.invalid/2"])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert offline.reachable([f"http://127.0.0.1:{listener}/file"])
    assert offline.reachable(["gs://bucket/file"])  # cannot be asked


def test_a_hanging_name_lookup_keeps_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        time.sleep(4)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    assert not offline.reachable([f"http://host{i}.invalid/" for i in range(3)], seconds=0.3)
    assert time.monotonic() - start < 2


def test_tfds_still_has_the_seams() -> None:
    """The three names inside TFDS that this project leans on."""
    from tensorflow_datasets.core.download import downloader, resource

    assert downloader.MAX_RETRIES == 10
    url = "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz"
    assert resource.get_dl_fname(url, "00" * 32) == (
        f"cvdf-datasets_mnist_t10k-labels-idx1-ubyte{'A' * 43}.gz"
    )
    assert callable(resource.write_info_file)
    assert not tfds.is_dataset_on_gcs("mnist/3.0.1")
