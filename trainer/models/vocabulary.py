"""Text to tokens and back: bytes or characters."""

from __future__ import annotations

import numpy as np

from trainer.errors import BadInput

SEPARATOR = b"\0"  # between documents: token 0, in every vocabulary
NEWLINE = b"\n"  # with which a sample begins: in every vocabulary too


class Vocabulary:
    """The tokens that a model knows.

    Args:
        tokens: `bytes` or `characters` (of UTF-8).
        text: Whose characters become tokens; all 256 bytes are.
        where: Where the text is from, for messages.

    Raises:
        BadInput: Characters are wanted, and the text is not UTF-8.
    """

    def __init__(self, tokens: str, text: bytes, where: str) -> None:
        self.tokens = tokens
        own = np.arange(256) if tokens == "bytes" else np.unique(self._units(text, where))
        always = list(SEPARATOR + NEWLINE)
        self.units = np.union1d(own, always).astype(np.uint32)

    def __len__(self) -> int:
        return len(self.units)

    def encode(self, text: bytes, where: str) -> np.ndarray:
        """Tokens of a text, integers `[length]`.

        Args:
            text: Bytes; UTF-8 where tokens are characters.
            where: Where it is from, for messages.

        Raises:
            BadInput: It is not UTF-8, or has a character that is no token.
        """
        units = self._units(text, where)
        tokens = np.minimum(np.searchsorted(self.units, units), len(self) - 1)
        unknown = np.flatnonzero(self.units[tokens] != units)
        if len(unknown):
            place = unknown[0]
            raise BadInput(
                f"{where} has {chr(units[place])!r} as character {place}, which the text to train "
                "on does not have; change it, or use --tokens=bytes."
            )
        return tokens.astype(np.int16 if len(self) <= 2**15 else np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        """What a person reads; documents stand apart by an empty line."""
        units = self.units[tokens]
        if self.tokens == "bytes":
            text = units.astype(np.uint8).tobytes().decode("utf-8", "replace")
        else:
            text = units.tobytes().decode("utf-32-le")
        return text.replace(SEPARATOR.decode(), "\n\n")

    def _units(self, text: bytes, where: str) -> np.ndarray:
        """Byte values or code points."""
        if self.tokens == "bytes":
            return np.frombuffer(text, np.uint8)
        try:
            return np.frombuffer(text.decode("utf-8").encode("utf-32-le"), np.uint32)
        except UnicodeDecodeError as error:
            raise BadInput(
                f"--tokens=characters: {where} is not UTF-8 at byte {error.start}; "
                "convert it, or use --tokens=bytes."
            ) from None
