"""A language model of bytes or characters, on any text file or TFDS text set.

A transformer learns which token follows. The text is cut into blocks of `--block_size` tokens;
a pass over the data goes once over the text, each block moved by a random offset, so that every
place is where a block may begin. Evaluation predicts each token of its split but the first exactly
once. Several documents (those of a dataset; in a file, NUL bytes part them) are packed into blocks;
nothing of one is seen from another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import options, task
from trainer.errors import BadInput
from trainer.options import option
from trainer.source import DataInfo, Features, Source
from trainer.task import Shown

if TYPE_CHECKING:
    import keras
    import numpy as np

    from trainer.models.vocabulary import Vocabulary

TINY_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
TRAINING_SHARE = 0.9
NO_TARGET = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Language model"""

    text: str = option(
        "", "a text file: --train_split=train is its first 90 %, --validation_split=test the rest"
    )
    dataset: str = option("", "or a TFDS name with the feature text, a document an example")
    tokens: str = option(
        "bytes", "what the model reads and writes one at a time", choices=("bytes", "characters")
    )
    block_size: int = option(64, "tokens of an example", minimum=1, maximum=2**20)
    layers: int = option(4, "blocks of attention and a dense network", minimum=1)
    heads: int = option(4, "of the attention; they divide --width", minimum=1)
    width: int = option(128, "of the embeddings", minimum=1)
    dropout: float = option(
        0.0, "rate, after the embedding and in each block", minimum=0.0, maximum=0.99
    )
    prompt: str = option(
        "", "what a sample goes on from; default: a new line of --text, a document of --dataset"
    )
    generate_tokens: int = option(200, "length of the sample after each epoch; 0: none", minimum=0)
    temperature: float = option(
        0.8, "of the sample: less is more predictable, 0 takes the likeliest", minimum=0.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise BadInput(
                f"--heads={self.heads} does not divide --width={self.width}; choose one that does."
            )


class Task(task.Task):
    """A block of tokens to the logits of those that follow.

    Attributes:
        vocabulary: Known once the training split is read.
        generate: A seed to tokens, made when it is first needed.
    """

    options: Options
    vocabulary: Vocabulary | None = None
    generate: Callable[[int], np.ndarray] | None = None

    def source(self) -> Source:
        """Blocks with what may follow them, so that a block can be moved.

        Raises:
            BadInput: Neither a file nor a dataset is given, or both, or there is no such file.
        """
        o = self.options
        shared: Any = dict(
            features=("text",),
            batch=self._batch,
            augment=self._moved,
            num_draws=1,
            check=lambda arrays, split, info: self._start(),  # a prompt that cannot be said
        )
        if o.dataset and not o.text:
            return Source(dataset=o.dataset, arrange=self._packed, **shared)
        if not o.text or o.dataset:
            raise BadInput(
                f"--text={o.text} with --dataset={o.dataset}: give one of them, a text file or a "
                f"TFDS name; tiny Shakespeare, the usual first text, is at {TINY_SHAKESPEARE}"
            )
        if not Path(o.text).expanduser().is_file():
            raise BadInput(
                f"--text={o.text} is no file; tiny Shakespeare, the usual first text, is at "
                f"{TINY_SHAKESPEARE}"
            )
        return Source(make=self._read, **shared)

    def model(self, info: DataInfo) -> keras.Model:
        """A decoder-only transformer."""
        from trainer.models import transformer

        o = self.options
        assert self.vocabulary is not None
        return transformer.decoder(
            len(self.vocabulary),
            block_size=o.block_size,
            layers=o.layers,
            heads=o.heads,
            width=o.width,
            dropout=o.dropout,
        )

    def loss(self) -> keras.losses.Loss:
        """Cross-entropy of the logits, where there is a token to predict."""
        import keras

        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=NO_TARGET, reduction=None
        )

    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss as a number of tokens."""
        from trainer.models.perplexity import Perplexity

        return [Perplexity(ignore_class=NO_TARGET)]

    def items(self) -> tuple[str, int]:
        """Tokens, by which the speed of language models is told."""
        return "tokens", self.options.block_size

    def show(self, model: keras.Model, seed: int) -> Shown:
        """A sample of the model's own."""
        o = self.options
        if not o.generate_tokens:
            return Shown()
        if self.generate is None:  # it is compiled: once, not once an epoch
            from trainer.models.generation import generator

            self.generate = generator(model, self._start(), o.generate_tokens, o.temperature)
        assert self.vocabulary is not None
        return Shown(text={"sample": self.vocabulary.decode(self.generate(seed))})

    def _read(self, split: str) -> Features:
        """The split of the text file, as blocks."""
        from trainer.models.vocabulary import Vocabulary

        if split not in ("train", "test"):
            raise BadInput(f"--text has the splits train and test, not {split}; name one of them.")
        path = Path(self.options.text).expanduser()
        text, where = path.read_bytes(), f"--text={path}"
        self.vocabulary = self.vocabulary or Vocabulary(self.options.tokens, text, where)
        tokens = self.vocabulary.encode(text, where)
        cut = int(TRAINING_SHARE * len(tokens))
        part = tokens[:cut] if split == "train" else tokens[cut:]
        return {"text": self._blocks(part, f"{where}, split {split},")}

    def _packed(self, arrays: Features, split: str) -> Features:
        """The documents of a split one after the other, as blocks."""
        from trainer.models.vocabulary import SEPARATOR, Vocabulary

        text = SEPARATOR.join(arrays["text"])
        where = f"--dataset={self.options.dataset}, split {split},"
        self.vocabulary = self.vocabulary or Vocabulary(self.options.tokens, text, where)
        return {"text": self._blocks(self.vocabulary.encode(text, where), where)}

    def _blocks(self, tokens: np.ndarray, where: str) -> np.ndarray:
        """Tokens as overlapping rows: a block, and as many again, so that it can be moved.

        Returns:
            Integers `[blocks, 2 * block_size]`. Row i begins at token `i * block_size`, so that the
            targets of the rows' first blocks are all tokens but the first, once each. What lies
            beyond the end is `NO_TARGET`.
        """
        import numpy as np

        size = self.options.block_size
        if len(tokens) < 2:
            raise BadInput(f"{where} has {len(tokens)} tokens: nothing to predict; give more text.")
        rows = -(-(len(tokens) - 1) // size)
        padded = np.full((rows + 1) * size, NO_TARGET, tokens.dtype)
        padded[: len(tokens)] = tokens
        halves = padded.reshape(rows + 1, size)
        return np.concatenate([halves[:-1], halves[1:]], axis=1)

    def _moved(self, features: Features, draws: Any) -> Features:
        """Blocks of a token more than `block_size` that begin anywhere in the first half."""
        import tensorflow as tf

        text, size = features["text"], self.options.block_size
        length = tf.reduce_sum(tf.cast(text != NO_TARGET, tf.int32), axis=1)
        places = tf.cast(tf.maximum(length - size, 1), tf.float32)  # 1: the last, partial block
        first = tf.cast(draws[:, 0] * places, tf.int32)
        return {"text": tf.gather(text, first[:, None] + tf.range(size + 1), batch_dims=1)}

    def _batch(self, features: Features) -> tuple[Any, ...]:
        """Tokens and those that follow them, int32 `[b, block_size]` each."""
        import tensorflow as tf

        text = tf.cast(features["text"][:, : self.options.block_size + 1], tf.int32)
        return tf.maximum(text[:, :-1], 0), text[:, 1:]

    def _start(self) -> np.ndarray:
        """The tokens that a sample goes on from.

        Raises:
            BadInput: The prompt has a character that the model does not know.
        """
        from trainer.models.vocabulary import NEWLINE, SEPARATOR

        assert self.vocabulary is not None
        prompt = self.options.prompt.encode()
        start = SEPARATOR + prompt if self.options.dataset else prompt or NEWLINE
        return self.vocabulary.encode(start, f"--prompt={self.options.prompt}")
