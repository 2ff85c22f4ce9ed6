"""Text to tokens and back, and the texts that cannot be told in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import BadInput
from trainer.models.vocabulary import SEPARATOR, Vocabulary


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@pytest.mark.parametrize("tokens", ["bytes", "characters"])
def test_there_and_back(tokens: str, text: str) -> None:
    vocabulary = Vocabulary(tokens, text.encode(), "here")
    encoded = vocabulary.encode(text.encode(), "here")
    assert vocabulary.decode(encoded) == text
    assert len(encoded) == len(text.encode() if tokens == "bytes" else text)
    assert all(0 < token < len(vocabulary) for token in encoded)


@pytest.mark.parametrize("tokens", ["bytes", "characters"])
def test_the_separator_is_token_0(tokens: str) -> None:
    vocabulary = Vocabulary(tokens, b"ab", "here")
    assert vocabulary.encode(b"a" + SEPARATOR + b"b", "here")[1] == 0
    assert vocabulary.decode(vocabulary.encode(b"a\0b", "here")) == "a\n\nb"


def test_characters_are_those_of_the_text() -> None:
    """With the separator, and the newline that a sample begins with."""
    assert len(Vocabulary("characters", "aböa".encode(), "here")) == 5
    assert len(Vocabulary("bytes", b"ab", "here")) == 256


@pytest.mark.parametrize("text", ["abz", "z", "ab\u00e9"])
def test_an_unknown_character_is_named_with_its_place(text: str) -> None:
    vocabulary = Vocabulary("characters", b"ab", "here")
    place = len(text) - 1
    with pytest.raises(BadInput, match=f"there has {text[-1]!r} as character {place},"):
        vocabulary.encode(text.encode(), "there")


def test_what_is_not_utf8_has_no_characters() -> None:
    with pytest.raises(BadInput, match="here is not UTF-8 at byte 2; convert it, or use --tokens"):
        Vocabulary("characters", b"ab\xff", "here")
    assert len(Vocabulary("bytes", b"ab\xff", "here")) == 256
