"""A decoder-only transformer out of Keras's own layers: a saved one loads without this project."""

from __future__ import annotations

import math

import keras

SEPARATOR = 0  # the token that stands between two documents
EPSILON = 1e-5  # Keras's 1e-3 is more than the variance of the first embeddings


def decoder(
    vocabulary: int, *, block_size: int, layers: int, heads: int, width: int, dropout: float
) -> keras.Model:
    """Tokens to the logits of the token that follows each of them.

    Pre-norm blocks without biases, learned positions, and one matrix for the embedding of tokens
    and for the logits. Documents may be packed into one block: a separator begins the next one,
    nothing sees across it, and positions begin anew there, so that a document gets the same logits
    in a pack as alone.

    Args:
        vocabulary: Number of tokens; token 0 separates documents.
        block_size: Tokens of an example, and the farthest that attention looks back.
        layers: Blocks.
        heads: Of the attention; they divide `width`.
        width: Of the embeddings.
        dropout: Rate after the embedding, on attention weights and after each part of a block.

    Returns:
        A model from int32 `[b, block_size]` to float32 `[b, block_size, vocabulary]`.

    References:
        Radford, Wu, Child, Luan, Amodei, Sutskever: Language models are unsupervised multitask
        learners, 2019 (the network). Press, Wolf: Using the output embedding to improve language
        models, 2017 (one matrix). Karpathy: nanoGPT (no biases, exact GELU).
    """
    tokens = keras.Input((block_size,), dtype="int32", name="tokens")
    visible = _visible(tokens)
    positions = keras.ops.sum(keras.ops.cast(visible, "int32"), axis=-1) - 1
    # Logits stay float32 under every policy: a softmax of half floats loses the small ones.
    embedding = keras.layers.ReversibleEmbedding(
        vocabulary,
        width,
        embeddings_initializer=_normal(),
        reverse_dtype="float32",
        name="embedding",
    )
    place = keras.layers.Embedding(
        block_size, width, embeddings_initializer=_normal(), name="positions"
    )
    x = keras.layers.Add(name="embedded")([embedding(tokens), place(positions)])
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    for number in range(1, layers + 1):
        block = _block(block_size, heads, width, dropout, layers, name=f"block{number}")
        x = block([x, visible])
    x = keras.layers.LayerNormalization(epsilon=EPSILON, center=False, name="norm")(x)
    return keras.Model(tokens, embedding(x, reverse=True), name="transformer")


def _visible(tokens: keras.KerasTensor) -> keras.KerasTensor:
    """Which tokens each one sees, bool `[b, t, t]`: itself, and those before it in its document."""
    # float32, which counts exactly to 2^24: TensorFlow sums up integers on the CPU alone
    begins = keras.ops.cast(keras.ops.equal(tokens, SEPARATOR), "float32")
    document = keras.ops.cumsum(begins, axis=1)
    same = keras.ops.equal(document[:, :, None], document[:, None, :])
    return keras.ops.tril(same)


def _block(
    block_size: int, heads: int, width: int, dropout: float, layers: int, name: str
) -> keras.Model:
    """Attention and a two-layer network, each added to what came in.

    A model of its own: what `--remat` recomputes.
    """
    inputs = x = keras.Input((block_size, width), name="inputs")
    visible = keras.Input((block_size, block_size), dtype="bool", name="visible")
    y = keras.layers.LayerNormalization(epsilon=EPSILON, center=False, name="attention_norm")(x)
    attention = keras.layers.MultiHeadAttention(
        heads, width // heads, dropout=dropout, use_bias=False,
        kernel_initializer=_normal(), name="attention",
    )  # fmt: skip
    y = attention(y, y, attention_mask=visible)
    # Each of the 2 * layers additions makes the sum wider: GPT-2 begins with them smaller. For the
    # attention's Keras has no argument.
    smaller = 1 / math.sqrt(2 * layers)
    attention.output_dense.kernel.assign(attention.output_dense.kernel * smaller)
    if dropout:
        y = keras.layers.Dropout(dropout, name="attention_dropout")(y)
    x = keras.layers.Add(name="attended")([x, y])
    y = keras.layers.LayerNormalization(epsilon=EPSILON, center=False, name="hidden_norm")(x)
    y = keras.layers.Dense(
        4 * width, "gelu", use_bias=False, kernel_initializer=_normal(), name="hidden"
    )(y)
    y = keras.layers.Dense(
        width, use_bias=False, kernel_initializer=_normal(smaller), name="output"
    )(y)
    if dropout:
        y = keras.layers.Dropout(dropout, name="output_dropout")(y)
    return keras.Model([inputs, visible], keras.layers.Add(name="added")([x, y]), name=name)


def _normal(scale: float = 1.0) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=0.02 * scale)
