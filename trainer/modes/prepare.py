"""`--mode=prepare`: brings a dataset onto the disk, from the internet or from archives."""

from __future__ import annotations

from pathlib import Path

from trainer import errors
from trainer.config import Config, task_module
from trainer.data.offline import is_folder
from trainer.data.prepare import open_builder, prepare


def run(config: Config) -> int:
    """Prepares the task's dataset and says what there is then.

    Raises:
        BadInput: The dataset is unknown, cannot be had here, or the archives are not right.
    """
    source = task_module(config.run.task).Task(config.task_options).source()
    if not source.dataset:
        raise errors.BadInput(
            f"--mode=prepare: --task={config.run.task} makes its own data; just train it."
        )
    if is_folder(source.dataset):
        raise errors.BadInput(
            f"--mode=prepare: --dataset={source.dataset} is a folder, ready as it is; just train."
        )
    builder = open_builder(source.dataset, str(Path(config.data.data_dir).expanduser()))
    prepare(builder, config.data.from_files)
    sizes = ", ".join(f"{n} {s.num_examples:,}" for n, s in builder.info.splits.items())
    print(f"{builder.info.full_name} is ready in {builder.data_path}: {sizes}.", flush=True)
    return errors.OK
