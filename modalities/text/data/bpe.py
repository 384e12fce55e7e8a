"""Byte-pair encoding: merges learned with the `tokenizers` library, and kept as nothing but pairs of token numbers.

Bytes are the first 256 tokens, so that any text can be written (Radford et al., 2019, section 2.2). What the library
would store about itself (normalisers, patterns) is not kept: it is fixed here, and a stranger's run cannot bring any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SMALLEST, LARGEST = 257, 50_000
"""Range of the number of tokens, the 256 bytes among them."""
_LONGEST_TOKEN = 64
"""Bytes."""
_BLOCK = 1 << 16
"""Characters of a part: the library keeps about a hundred bytes for each."""
_AT_ONCE = 8
"""Parts that are encoded together, on all cores."""


def learn(blocks: Iterable[str], size: int) -> tuple[tuple[int, int], ...]:
    """Merges learned from text, for `size` tokens or fewer. Raises UsageError when the library is missing."""
    library = _library()
    alphabet = _alphabet()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, max_token_length=_LONGEST_TOKEN
    )
    tokenizer.train_from_iterator(blocks, trainer)
    number = {character: byte for byte, character in enumerate(alphabet)}
    merges = []
    for pair in json.loads(tokenizer.to_str())["model"]["merges"]:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        merges.append((number[left], number[right]))
        number.setdefault(left + right, len(number))
    return tuple(merges)


def token_bytes(merges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the bytes of each token. Two merges that give the same bytes give the same token.

    Raises ValueError for merges that `learn` cannot have made.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    distinct = set(tokens)
    for left, right in merges:
        if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
            raise ValueError("a merge of tokens that do not exist yet")
        merged = tokens[left] + tokens[right]
        if len(merged) > _LONGEST_TOKEN:  # doubling would soon fill any memory
            raise ValueError("a token is too long")
        if merged not in distinct:
            distinct.add(merged)
            tokens.append(merged)
    return tokens


def check_merges(merges: list[Any]) -> tuple[tuple[int, int], ...]:
    """Merges from parsed JSON. Raises ValueError for what `learn` cannot have made."""
    if len(merges) > 2 * LARGEST:
        raise ValueError("too many merges")
    if any(type(pair) is not list or len(pair) != 2 or {type(side) for side in pair} != {int} for pair in merges):
        raise ValueError("a merge is not a pair of numbers")
    pairs = tuple((left, right) for left, right in merges)
    token_bytes(pairs)
    return pairs


class Encoder:
    """Text to token numbers (0 to 255 are bytes)."""

    def __init__(self, merges: Sequence[tuple[int, int]]) -> None:
        self._merges = merges

    def encode(self, text: str) -> np.ndarray:
        """(N,) int32."""
        parts, ids = list(_parts(text)), [np.zeros(0, np.int32)]
        for start in range(0, len(parts), _AT_ONCE):
            some = self._tokenizer.encode_batch(parts[start : start + _AT_ONCE], add_special_tokens=False)
            ids += [np.array(one.ids, np.int32) for one in some]
        return np.concatenate(ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        library = _library()
        alphabet = _alphabet()
        tokens = ["".join(alphabet[byte] for byte in token) for token in token_bytes(self._merges)]
        pairs = [(tokens[left], tokens[right]) for left, right in self._merges]
        model = library.models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs)
        tokenizer = library.Tokenizer(model)
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return tokenizer


def _parts(text: str) -> Iterator[str]:
    """Yield the text in parts of about `_BLOCK` characters that end between two words, where no pair is torn apart."""
    begin = 0
    while begin < len(text):
        end = min(begin + _BLOCK, len(text))
        if end < len(text):
            end = max(text.rfind(" ", begin + 1, end), text.rfind("\n", begin + 1, end), begin) or end
            end = end if end > begin else min(begin + _BLOCK, len(text))
        yield text[begin:end]
        begin = end


def _alphabet() -> list[str]:
    """The printable character that the library writes for each byte, which is GPT-2's."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise UsageError(f"bpe tokens need the package tokenizers ({error}); run pip install tokenizers") from None
    return tokenizers
