"""Frozen dataclasses = flags = flagfile.

A field of a dataclass here *is* a flag: its name, type, default, help, choices and bounds. In code
the parts are nested (`config.optimizer.learning_rate`), on the command line they are flat
(`--learning_rate`). A task's own options are a dataclass named `Options` in the task's file and
become flags once `--task` is known. `trainer/flagfile.py` reads and writes the text form.

No TensorFlow here: `--help` and a wrong flag answer at once.
"""

# Over 250 lines: the list of all flags is worth having in one place.

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from pathlib import Path
from typing import Any

from trainer import environment
from trainer.conditions import check_together
from trainer.errors import BadInput
from trainer.options import Options, near, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Options):
    """Run"""

    mode: str = option(
        "train",
        "what to do: train a task, prepare its dataset and leave, use a trained run, compare two",
        choices=("train", "prepare", "evaluate", "predict", "export", "compare"),
    )
    task: str = option(
        "image_classification",
        "the problem: a module of trainer/tasks, or a dotted path to a module of your own",
    )
    loop: str = option(
        "tape",
        "tape: this project's GradientTape loop; fit: model.fit() on the same task, data and state",
        choices=("tape", "fit"),
    )
    workdir: str = option(
        "", "folder of the run: checkpoints, TensorBoard, run.json; default runs/<task>"
    )
    seed: int = option(0, "seed of weights, data order and dropout", minimum=0, maximum=2**31 - 1)
    overwrite: bool = option(
        False,
        "delete what an earlier run left in --workdir; export, predict: replace what they wrote",
    )
    runs: tuple[str, ...] = option((), "for --mode=compare: two workdirs")
    tolerance: float = option(
        0.0, "for --mode=compare: the share by which equal metrics may differ", minimum=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Options):
    """Data"""

    data_dir: str = option("~/tensorflow_datasets", "where prepared datasets lie")
    train_split: str = option("train", "the split to train on, in TFDS's notation: train[:90%]")
    validation_split: str = option("test", "the split to evaluate on; none: no evaluation")
    from_files: str = option(
        "",
        "for --mode=prepare: a folder with the dataset's archives, for machines without internet",
    )
    reader: str = option(
        "auto",
        "hold a split in memory, or read it from disk as it is needed; auto: in memory if it fits",
        choices=("auto", "memory", "disk"),
    )
    memory_budget_gib: float = option(
        4.0, "the most memory that a split may take, decoded", above=0.0
    )
    tf_data_service: str = option(
        "",
        "make training batches on TensorFlow's own input service: grpc://host:port of its "
        "dispatcher; where a run goes on is then exact to a few batches only",
    )
    shuffle: bool = option(True, "a new order each pass over the data, a pure function of the seed")
    drop_remainder: bool = option(False, "leave out the last, smaller batch of each pass")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loop(Options):
    """Loop"""

    global_batch_size: int = option(64, "examples a step, over all replicas", minimum=1)
    epochs: int = option(10, "epochs to train, if --train_steps is 0", minimum=1)
    train_steps: int = option(0, "steps to train; 0: as --epochs says", minimum=0)
    steps_per_epoch: int = option(
        0, "steps between two evaluations; 0: one pass over the training split", minimum=0
    )
    steps_per_loop: int = option(
        100, "steps inside one call on the device; callbacks run between calls", minimum=1
    )
    eval_every_epochs: int = option(1, "epochs from one evaluation to the next", minimum=1)
    eval_batch_size: int = option(0, "examples an evaluation step; 0: as in training", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(Options):
    """Step"""

    precision: str = option(
        "float32",
        "Keras dtype policy of the model",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    clip_norm: float = option(
        0.0, "clip the reduced gradient to this global norm; 0: no clipping", minimum=0.0
    )
    accumulation_steps: int = option(
        1, "micro-batches of each replica's batch, added up before one update", minimum=1
    )
    weight_reduction: str = option(
        "elements",
        "divide the summed loss by the number of elements (Keras's way) or the sum of the weights",
        choices=("elements", "weighted_mean"),
    )
    on_nonfinite: str = option(
        "auto",
        "a gradient that is not finite changes nothing; then halt, or skip and go on; "
        "auto: skip under mixed_float16 while a lower loss scale may help, else halt",
        choices=("auto", "halt", "skip"),
    )
    initial_loss_scale: float = option(
        32768.0, "first loss scale under mixed_float16", minimum=1.0, maximum=2.0**24
    )
    loss_scale_growth_steps: int = option(
        2000, "finite steps after which the loss scale doubles", minimum=1
    )
    keras_semantics: bool = option(
        False,
        "BatchNormalization and Dropout as model.fit() has them: statistics of one replica, the "
        "same dropout mask on each",
    )
    jit_compile: str = option(
        "false",
        "what XLA compiles: nothing, the optimizer's update, or (true) all of the step that it "
        "can; auto: measure first, keep the fastest",
        choices=("auto", "false", "update", "true"),
    )
    remat: bool = option(
        False, "recompute each block of the model in the backward pass: less memory, slower"
    )


# A test holds this list against keras.optimizers. ScheduleFreeAdamW is missing on purpose: its
# evaluation weights are not its training weights, which no checkpoint or evaluation here knows.
OPTIMIZERS = (
    "sgd", "momentum", "adam", "adamw", "adadelta", "adafactor", "adagrad", "adamax", "ftrl",
    "lamb", "lion", "muon", "nadam", "rmsprop",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Options):
    """Optimizer"""

    optimizer: str = option(
        "adam", "a Keras optimizer by name; momentum is SGD with 0.9", choices=OPTIMIZERS
    )
    learning_rate: float = option(0.001, "peak learning rate", minimum=0.0)
    optimizer_args: tuple[str, ...] = option(
        (), "more arguments of the Keras optimizer: beta_2=0.95,nesterov=true"
    )
    weight_decay: float = option(0.0, "decoupled weight decay; 0: none", minimum=0.0)
    weight_decay_exclude: tuple[str, ...] = option(
        (), "variables left out of weight decay, by a part of their name: bias,gamma,beta"
    )
    schedule: str = option(
        "constant",
        "course of the learning rate over the updates",
        choices=("constant", "cosine", "piecewise"),
    )
    warmup_steps: int = option(0, "updates of a linear rise from 0 to --learning_rate", minimum=0)
    final_learning_rate: float = option(0.0, "where the cosine ends", minimum=0.0)
    schedule_boundaries: tuple[int, ...] = option(
        (), "updates at which a piecewise schedule falls", items=int, minimum=1
    )
    schedule_factor: float = option(0.1, "by which it is multiplied there", above=0.0)
    ema_momentum: float = option(
        0.0,
        "exponential moving average of the weights, used in evaluation and at the end; 0: none",
        minimum=0.0,
        maximum=0.999999,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runtime(Options):
    """Devices"""

    device: str = option(
        "auto", "auto takes the GPUs if there are any", choices=("auto", "cpu", "gpu")
    )
    num_devices: int = option(0, "devices to use; 0: all there are", minimum=0)
    num_logical_devices: int = option(
        0,
        "split the first device into this many logical ones, a replica each; 0: no",
        minimum=0,
        maximum=1024,
    )
    logical_device_memory_mib: int = option(4096, "memory of each logical GPU", minimum=1)
    all_reduce: str = option(
        "auto",
        "how gradients are summed; auto: NCCL on several GPUs, one_device elsewhere",
        choices=("auto", "nccl", "hierarchical_copy", "one_device"),
    )
    memory_growth: bool = option(True, "let GPU memory grow as needed instead of taking it all")
    tf32: bool = option(True, "TensorFloat-32 in float32 products on GPUs that have it")
    deterministic: bool = option(False, "TensorFlow's deterministic kernels: bit-equal, slower")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint(Options):
    """Checkpoints"""

    checkpoint_every_epochs: int = option(1, "epochs from one checkpoint to the next", minimum=1)
    checkpoint_every_steps: int = option(
        0, "also within an epoch, at the first loop's end after so many steps; 0: no", minimum=0
    )
    keep_last: int = option(2, "newest checkpoints to keep", minimum=1)
    keep_best: int = option(1, "best checkpoints to keep besides", minimum=0)
    best_metric: str = option("val_loss", "the metric that best means")
    best_mode: str = option(
        "auto",
        "whether smaller or larger is better; auto: max for accuracy, auc, precision, ...",
        choices=("auto", "min", "max"),
    )
    init_from: str = option(
        "", "start from the weights of this checkpoint (or workdir), matched by name and shape"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Callbacks(Options):
    """Callbacks"""

    early_stopping_patience: int = option(
        0, "epochs without a better --early_stopping_metric before the end; 0: never", minimum=0
    )
    early_stopping_metric: str = option("val_loss", "the metric that early stopping watches")
    restore_best_weights: bool = option(True, "with early stopping, end with the best weights")
    reduce_lr_patience: int = option(
        0, "epochs without a better val_loss before the learning rate falls; 0: never", minimum=0
    )
    reduce_lr_factor: float = option(0.1, "by which it is multiplied", above=0.0, maximum=0.999)
    tensorboard: bool = option(True, "write TensorBoard summaries to <workdir>/tensorboard")
    log_every_steps: int = option(
        100, "steps between two points of the training scalars", minimum=1
    )
    profile_steps: str = option("", "profile these steps, in whole loops: 100:110")
    progress: str = option(
        "auto",
        "a bar on a terminal, lines elsewhere, or nothing",
        choices=("auto", "bar", "lines", "none"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained(Options):
    """Evaluate, predict, export"""

    checkpoint: str = option(
        "auto", "best (by --best_metric), latest, a checkpoint's folder; auto: best, else latest"
    )
    eval_split: str = option("", "what to evaluate or compare on; default: --validation_split")
    input: str = option("", "for --mode=predict: a file, a folder or a pattern")
    output: str = option("", "for --mode=predict: a CSV file; default: standard output")
    export_dir: str = option("", "for --mode=export: where to; default <workdir>/export")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All that a run is told.

    Equal configurations give equal flagfiles and back: `parse(["--flagfile=F"])` on the file that
    `to_flagfile` wrote is the same `Config`.

    Attributes:
        task_options: The `Options` of the task's own file.
    """

    run: Run = dataclasses.field(default_factory=Run)
    data: Data = dataclasses.field(default_factory=Data)
    loop: Loop = dataclasses.field(default_factory=Loop)
    step: Step = dataclasses.field(default_factory=Step)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    runtime: Runtime = dataclasses.field(default_factory=Runtime)
    checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)
    callbacks: Callbacks = dataclasses.field(default_factory=Callbacks)
    trained: Trained = dataclasses.field(default_factory=Trained)
    task_options: Any = None

    def __post_init__(self) -> None:
        if self.task_options is None:
            object.__setattr__(self, "task_options", task_module(self.run.task).Options())
        if not self.run.workdir:
            workdir = f"runs/{self.run.task.rsplit('.', 1)[-1]}"
            object.__setattr__(self, "run", dataclasses.replace(self.run, workdir=workdir))
        check_together(self)

    @property
    def parts(self) -> dict[str, Any]:
        """The dataclasses by name, in the order of `--help`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def replace(self, **values: Any) -> Config:
        """A copy with some flags changed, by their flat names."""
        return configure(**{**flat(self), **values})


def task_module(task: str) -> types.ModuleType:
    """The module behind `--task`: by convention `trainer.tasks.<task>`, or a dotted path.

    Raises:
        BadInput: There is no such module, or it has no `Task` and `Options`.
    """
    path = task if "." in task else f"trainer.tasks.{task}"
    folder = Path(__file__).with_name("tasks")
    names = sorted(f.stem for f in folder.glob("*.py") if f.stem != "__init__")
    if "." not in task and task not in names:
        raise BadInput(f"--task={task} is not one of {', '.join(names)}{near(task, names)}")
    if not all(part.isidentifier() for part in path.split(".")):
        raise BadInput(f"--task={task} is no module's name; write it as in package.module.")
    if "." in task:
        environment.choose()  # its file may import Keras
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not (path == error.name or path.startswith(error.name + ".")):
            raise  # the task is there; something that it imports is not
        raise BadInput(
            f"--task={task}: there is no module {error.name}; start where it can be imported from."
        ) from None
    for name in ("Task", "Options"):
        if not hasattr(module, name):
            raise BadInput(f"--task={task}: {path} has no {name} class; see docs/new-task.md.")
    return module


def configure(**values: Any) -> Config:
    """A `Config` from flat names: `configure(task="image_classification", epochs=3)`.

    Raises:
        BadInput: An unknown name, or a value that its flag refuses.
    """
    options = task_module(values.get("task", Run.task)).Options
    parts = {f.name: typing.get_type_hints(Config)[f.name] for f in dataclasses.fields(Config)}
    parts["task_options"] = options
    known = [f.name for part in parts.values() for f in _fields(part)]
    if twice := [name for name in known if known.count(name) > 1]:
        task = values.get("task", Run.task)
        raise BadInput(f"--task={task}: its option {twice[0]} is a flag already; rename it.")
    made = {}
    for name, part in parts.items():
        own = {f.name for f in dataclasses.fields(part)}
        made[name] = part(**{k: values.pop(k) for k in own & values.keys()})
    if values:
        unknown = next(iter(values))
        raise BadInput(f"--{unknown} is not a flag{near(unknown, known, prefix='--')}")
    return Config(**made)


def flat(config: Config) -> dict[str, Any]:
    """Every flag's name and value."""
    return {
        f.name: getattr(part, f.name) for part in config.parts.values() for f in _fields(type(part))
    }


def _fields(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(part)
