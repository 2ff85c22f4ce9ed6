"""The parts of a run, put together as the configuration says."""

from __future__ import annotations

import dataclasses
import functools
import logging

import keras
import tensorflow as tf

from trainer.config import Config, task_module
from trainer.data.load import Loaded, load, num_examples
from trainer.data.offline import refuse_silence
from trainer.data.pipeline import distribute
from trainer.data.plan import IndexPlan, Schedule
from trainer.data.readers import Reader, Split, open_reader
from trainer.data.service import distribute_service
from trainer.errors import BadInput
from trainer.measures import Measures
from trainer.optimizer import make_optimizer
from trainer.remat import rematerialize
from trainer.source import Source
from trainer.state import TrainState, make_state, synchronize_batch_norm
from trainer.task import Task

log = logging.getLogger("trainer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalParts:
    """What an evaluation works on.

    Attributes:
        eval_plan: Which examples an evaluation step sees; None without evaluation.
    """

    config: Config
    strategy: tf.distribute.Strategy
    task: Task
    source: Source
    data: Loaded
    eval_plan: IndexPlan | None
    state: TrainState
    measures: Measures

    @property
    def eval_schedule(self) -> Schedule:
        """One evaluation after the other.

        Where its calls end decides how sums are rounded, so that must not depend on the training
        split, which an evaluation later on does not read.
        """
        assert self.eval_plan is not None
        steps = self.eval_plan.steps_per_pass
        loop = self.config.loop.steps_per_loop
        return Schedule(steps_per_epoch=steps, steps_per_loop=loop, train_steps=0)

    def validation_data(self, single: bool = False) -> tf.distribute.DistributedDataset:
        """The validation split over and over, in its order on disk."""
        assert self.eval_plan is not None
        return distribute(
            self.strategy,
            self._reader(self.data.validation, training=False),
            self.eval_plan,
            self.eval_schedule,
            first_step=0,
            single=single,
        )

    def _reader(self, split: Split | None, training: bool) -> Reader:
        assert split is not None
        budget = int(self.config.data.memory_budget_gib * 2**30)
        return open_reader(split, self.source, training, budget)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts(EvalParts):
    """What both loops work on.

    Attributes:
        plan: Which examples a training step sees.
        schedule: Where its calls end.
    """

    plan: IndexPlan
    schedule: Schedule

    @property
    def epochs(self) -> int:
        """Epochs in the whole run, the last one perhaps shorter."""
        return -(-self.schedule.train_steps // self.schedule.steps_per_epoch)

    @property
    def per_replica_batch_size(self) -> int:
        """Examples of a full batch on one replica."""
        return self.plan.global_batch_size // self.strategy.num_replicas_in_sync

    def training_data(self, single: bool = False) -> tf.distribute.DistributedDataset:
        """Batches from the state's step on, without end."""
        reader, step = self.training_reader, self.state.step
        address = self.config.data.tf_data_service
        if address:
            return distribute_service(
                self.strategy, reader, self.plan, address, first_step=step, single=single
            )
        return distribute(
            self.strategy, reader, self.plan, self.schedule, first_step=step, single=single
        )

    @functools.cached_property
    def training_reader(self) -> Reader:
        """Of the training split, augmented."""
        return self._reader(self.data.train, training=True)


def assemble(config: Config, strategy: tf.distribute.Strategy) -> Parts:
    """Reads the data and builds the model, the optimizers and what measures them.

    Raises:
        BadInput: A flag does not fit the data or the devices.
    """
    replicas = strategy.num_replicas_in_sync
    _check_batch(config, replicas)
    task: Task = task_module(config.run.task).Task(config.task_options)
    source = task.source()
    if config.data.tf_data_service:
        refuse_silence(config.data.tf_data_service)
    data = load(config.data, source, config.run.task)
    plan = _plan(config, data)
    schedule = _schedule(config, plan)
    # TFDS draws from Python's generator as it prepares a dataset; Keras's initializers do next
    keras.utils.set_random_seed(config.run.seed)
    with strategy.scope():
        model = task.model(data.info)
        if config.step.remat:
            rematerialize(model)
        if not config.step.keras_semantics:
            synchronize_batch_norm(model)
        objectives = task.objectives(model)
        _refuse_no_match(config, objectives)
        rates = dict.fromkeys(objectives, config.optimizer.learning_rate) | task.learning_rates()
        optimizers = {
            name: make_optimizer(
                dataclasses.replace(config.optimizer, learning_rate=rate), schedule.train_steps
            )
            for name, rate in rates.items()
        }
        half = config.step.precision == "mixed_float16"
        scale = config.step.initial_loss_scale if half else 1.0
        state = make_state(model, optimizers, objectives, scale)
        state.flags = {"learning_rates": rates, "precision": config.step.precision}
        measures = Measures(task.metrics(), list(objectives))
    _say(config, plan, schedule, state, replicas)
    return Parts(
        config=config,
        strategy=strategy,
        task=task,
        source=source,
        data=data,
        plan=plan,
        schedule=schedule,
        eval_plan=eval_plan(config, data),
        state=state,
        measures=measures,
    )


def _check_batch(config: Config, replicas: int) -> None:
    batch_size, micro = config.loop.global_batch_size, config.step.accumulation_steps
    if batch_size % replicas:
        lower = batch_size // replicas * replicas
        near = f"{lower} or {lower + replicas}" if lower else f"{replicas}"
        raise BadInput(
            f"--global_batch_size={batch_size} is not divisible by {replicas} replicas; "
            f"take {near}."
        )
    if micro > batch_size // replicas:
        raise BadInput(
            f"--accumulation_steps={micro} is more than the {batch_size // replicas} examples that "
            f"--global_batch_size={batch_size} gives each replica; take fewer."
        )


def _refuse_no_match(config: Config, objectives: dict[str, list[keras.Variable]]) -> None:
    """A part of a name that no variable has is a slip of the pen."""
    paths = [v.path for variables in objectives.values() for v in variables]
    for part in config.optimizer.weight_decay_exclude:
        if not any(part in path for path in paths):
            raise BadInput(
                f"--weight_decay_exclude={part} is in no variable's name; they are "
                f"{', '.join(sorted({path.rsplit('/', 1)[-1] for path in paths}))} and the like."
            )


def _plan(config: Config, data: Loaded) -> IndexPlan:
    examples = num_examples(data.train)
    batch_size = config.loop.global_batch_size
    if examples < batch_size:
        raise BadInput(
            f"--global_batch_size={batch_size} is more than the {examples} examples of "
            f"--train_split={config.data.train_split}; take at most {examples}."
        )
    return IndexPlan(
        num_examples=examples,
        global_batch_size=batch_size,
        seed=config.run.seed,
        shuffle=config.data.shuffle,
        drop_remainder=config.data.drop_remainder,
    )


def eval_plan(config: Config, data: Loaded) -> IndexPlan | None:
    """Which examples an evaluation step sees; None without a split to evaluate on."""
    if data.validation is None:
        return None
    examples = num_examples(data.validation)
    batch_size = config.loop.eval_batch_size or config.loop.global_batch_size
    return IndexPlan(num_examples=examples, global_batch_size=batch_size, shuffle=False)


def _schedule(config: Config, plan: IndexPlan) -> Schedule:
    steps_per_epoch = config.loop.steps_per_epoch or plan.steps_per_pass
    return Schedule(
        steps_per_epoch=steps_per_epoch,
        steps_per_loop=min(config.loop.steps_per_loop, steps_per_epoch),
        train_steps=config.loop.train_steps or config.loop.epochs * steps_per_epoch,
    )


def _say(
    config: Config, plan: IndexPlan, schedule: Schedule, state: TrainState, replicas: int
) -> None:
    """The batch arithmetic, aloud."""
    last = plan.num_examples - plan.full_steps * plan.global_batch_size
    smaller = f", the last one of {last}" if plan.steps_per_pass > plan.full_steps else ""
    micro = config.step.accumulation_steps
    parts = f" in {micro} micro-batches" if micro > 1 else ""
    log.info(
        "%d examples in batches of %d (%d on each of %d replicas%s): %d steps a pass%s.",
        plan.num_examples, plan.global_batch_size, plan.global_batch_size // replicas, replicas,
        parts, plan.steps_per_pass, smaller,
    )  # fmt: skip
    log.info(
        "%s with %s weights; %d steps in epochs of %d, calls of %d; %s, %s.",
        state.model.name, f"{state.model.count_params():,}", schedule.train_steps,
        schedule.steps_per_epoch, schedule.steps_per_loop, config.step.precision,
        config.optimizer.optimizer,
    )  # fmt: skip
