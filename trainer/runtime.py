"""Devices, strategy, precision, seeds."""

from __future__ import annotations

import functools
import logging

import keras
import tensorflow as tf

from trainer.config import Config, Runtime
from trainer.errors import BadInput

log = logging.getLogger("trainer")

_made_deterministic: list[bool] = []


def set_up(config: Config) -> tf.distribute.Strategy:
    """Brings this process into the state that the configuration describes.

    Keras's globals are set one by one, so that a `keras.json` in the home folder changes nothing.

    Returns:
        The strategy that all variables and steps of the run belong to.

    Raises:
        BadInput: There are fewer devices than asked for.
    """
    tf.get_logger().setLevel("WARNING")
    strategy = make_strategy(config.runtime)
    keras.utils.clear_session()  # layer names start from zero: checkpoints are matched by them
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(config.step.precision)
    keras.utils.set_random_seed(config.run.seed)
    tf.config.experimental.enable_tensor_float_32_execution(config.runtime.tf32)
    if config.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
        _made_deterministic.append(True)
    elif _made_deterministic:
        raise BadInput(
            "--deterministic=false: an earlier run in this process was deterministic, which "
            "TensorFlow does not take back; start a new process."
        )
    return strategy


def make_strategy(runtime: Runtime) -> tf.distribute.MirroredStrategy:
    """One `MirroredStrategy` over the devices that the flags choose.

    Raises:
        BadInput: There are fewer devices than asked for, or TensorFlow runs with others already.
    """
    kind = _device_kind(runtime)
    physical = tf.config.list_physical_devices(kind)
    if runtime.num_devices > len(physical):
        raise BadInput(
            f"--num_devices={runtime.num_devices} is more than the {len(physical)} {kind} devices "
            "of this machine; take fewer, or split one with --num_logical_devices."
        )
    try:
        if kind == "GPU":
            for gpu in physical:
                tf.config.experimental.set_memory_growth(gpu, runtime.memory_growth)
        else:  # TensorFlow would take their memory, and place what it can there
            tf.config.set_visible_devices([], "GPU")
        if runtime.num_logical_devices:
            limit = runtime.logical_device_memory_mib if kind == "GPU" else None
            split = [tf.config.LogicalDeviceConfiguration(memory_limit=limit)]
            if limit:  # growth and a fixed share exclude each other
                tf.config.experimental.set_memory_growth(physical[0], False)
            tf.config.set_logical_device_configuration(
                physical[0], split * runtime.num_logical_devices
            )
    except RuntimeError:
        log.info("TensorFlow is running already: its devices stay as they are.")
    devices = [d.name for d in tf.config.list_logical_devices(kind)]
    wanted = runtime.num_logical_devices or runtime.num_devices or len(physical)
    if wanted > len(devices):
        raise BadInput(
            f"--num_logical_devices={wanted}: TensorFlow runs with {len(devices)} devices in this "
            "process already; start a new process."
        )
    return _strategy(tuple(devices[:wanted]), _all_reduce(runtime, kind, wanted))


@functools.cache
def _strategy(devices: tuple[str, ...], all_reduce: str) -> tf.distribute.MirroredStrategy:
    """Kept for the life of the process: a second one of the same breaks it (tensorflow#61314)."""
    ways = {
        "nccl": tf.distribute.NcclAllReduce,
        "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
        "one_device": tf.distribute.ReductionToOneDevice,
    }
    return tf.distribute.MirroredStrategy(list(devices), cross_device_ops=ways[all_reduce]())


def _device_kind(runtime: Runtime) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if runtime.device == "gpu" and not gpus:
        raise BadInput("--device=gpu: TensorFlow sees no GPU here; use --device=auto or cpu.")
    return "GPU" if gpus and runtime.device != "cpu" else "CPU"


def _all_reduce(runtime: Runtime, kind: str, replicas: int) -> str:
    """How gradients are summed.

    On CPUs the default collectives break `fit` with several steps an execution (keras#19246), and
    NCCL wants a card for each rank.
    """
    if runtime.all_reduce == "nccl" and kind == "CPU":
        raise BadInput("--all_reduce=nccl needs GPUs; use --all_reduce=auto.")
    if runtime.all_reduce != "auto":
        return runtime.all_reduce
    whole_cards = kind == "GPU" and replicas > 1 and not runtime.num_logical_devices
    return "nccl" if whole_cards else "one_device"
