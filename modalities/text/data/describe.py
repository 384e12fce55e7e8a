"""The block about texts: what was read and how, what was guessed, and what was lost."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydantic import JsonValue

from modalities.text.data.formats import FORMATS
from modalities.text.data.measured import LENGTHS, MIN_SPEECHES, USUAL_SHARE, Measured
from modalities.text.data.text_files import Problems
from modalities.text.data.tokens import MANY_CHARACTERS, RARE, Vocabulary, parse
from toolkit.console import printable
from toolkit.data import listing as files
from toolkit.data import understood
from toolkit.data.understood import LABELS_SHOWN, Row

LEAK = 0.05
"""Share of held-out lines or items that the training split has too, from which on it matters."""


def rows(it: Measured, vocabulary: Vocabulary) -> list[Row]:
    """Return the block, in its order."""
    listing, problems = it.source.listing, it.problems
    read = [entry.name for entry in listing.entries]
    listed = [*listing.rejected, *problems.unreadable]
    losses = [f"{count:,} {kind}" for kind, count in problems.losses.most_common()]
    return [
        understood.files(read, listing.ignored, FORMATS),
        *_splits(it),
        *_labels(it),
        _format(it),
        *_encodings(problems),
        *_dialects(problems),
        *_forms(it),
        *_characters(it),
        *_sizes(it),
        *_copies(it),
        _tokens(it, vocabulary),
        *_repair_rows(problems),
        *it.source.rows,
        *understood.unusable_rows(listed),
        *(
            [Row(name="rows left out", value="; ".join(losses), data=dict(problems.losses), warning=True)]
            if losses
            else []
        ),
        *understood.notes([*listing.notes, *problems.lines]),
    ]


def _splits(it: Measured) -> list[Row]:
    what = "characters" if it.source.packed else it.noun
    by = it.source.listing.splits_by
    share = f"{it.source.test:.0%}"
    if it.survey.names_splits:
        how, change = by or "the data set's own", "--splits none" if by else ""
    elif it.source.packed:
        how, change = f"the last {share} of each text", "--test 0.1"
    else:
        how, change = f"{share} by a hash of their text", "--test 0.1"
    value = f"{it.train:,} {what} train, {it.test:,} held out: {how}"
    return [Row(name="splits", value=value, data={"train": it.train, "test": it.test}, change=change)]


def _labels(it: Measured) -> list[Row]:
    by, folders = it.options.labels, len(files.label_names(it.source.listing.entries))
    also = [f"{folders:,} folders (--labels folder)"] if folders and by != "folder" else []
    change = "--labels folder" if also else ""
    if it.is_play and by != "speaker":
        often = sum(count >= MIN_SPEECHES for count in it.speakers.values())
        also.append(f"speakers, as in a play: {len(it.speakers):,}, and {often:,} with {MIN_SPEECHES} speeches or more")
        change = change or "--labels speaker"
    more = f"; also possible: {'; '.join(also)}" if also else ""
    if not it.names:
        why = "none" if by == "none" else f"none: --labels {by} does not tell all texts apart"
        return [Row(name="labels", value=why + more, data={}, change=change, warning=by != "none")]
    listed = ", ".join(f"{printable(name)} ({count:,})" for name, count in it.labels.most_common(LABELS_SHOWN))
    rest = f", ... {len(it.labels) - LABELS_SHOWN:,} more" if len(it.labels) > LABELS_SHOWN else ""
    value = f"{len(it.names):,} by {by}: {listed}{rest}{more}"
    return [Row(name="labels", value=value, data=dict(it.labels), change=change or "--labels none")]


def _format(it: Measured) -> Row:
    value, change = it.source.why, ""
    if it.separator:
        count = it.survey.separators[it.separator]
        value += f"; but {count:,} lines say {it.separator} and nothing else"
        change = f"--separator {it.separator}" if it.separator.strip("%-=") == "" else f"--separator '{it.separator}'"
    elif it.lines_are_items:
        value += f"; but {USUAL_SHARE:.0%} of the lines have up to {it.usual} characters, as items have"
        change = "--items line"
    elif it.source.packed:
        change = "--items line"
    elif it.paired:
        value += "; a source is given, its target is written"
    return Row(name="format", value=value, data={"items": not it.source.packed, "pairs": it.paired}, change=change)


def _guesses_text(counts: Counter[str]) -> str:
    return ", ".join(f"{printable(value)} ({count:,})" for value, count in counts.most_common(LABELS_SHOWN))


def _encodings(problems: Problems) -> list[Row]:
    counts = problems.guessed.get("encodings", Counter[str]())
    if not counts:
        return []
    unsure = "encodings" in problems.unsure
    value = _guesses_text(counts) + ("; the files do not say it, the letters do" if unsure else "")
    return [Row(name="encodings", value=value, data=dict(counts), change="--encoding NAME" if unsure else "")]


def _dialects(problems: Problems) -> list[Row]:
    counts = {name: problems.guessed.get(name, Counter[str]()) for name in ("dialects", "header", "quotes", "columns")}
    tabs = any("tabs" in each for each in counts["dialects"])
    changes = {
        "dialects": "--delimiter ','" if tabs else "--delimiter tab",
        "header": "--header no" if any(each.startswith("the first") for each in counts["header"]) else "--header yes",
        "quotes": "--quotes no" if "enclose fields" in counts["quotes"] else "--quotes yes",
        "columns": problems.change,
    }
    return [
        Row(name=name, value=_guesses_text(counts[name]), data=dict(counts[name]), change=change)
        for name, change in changes.items() if counts[name]
    ]  # fmt: skip


def _forms(it: Measured) -> list[Row]:
    if not all(it.mixed):
        return []
    one, several = it.mixed
    value = f"{one:,} characters with accents are one code point, {several:,} are several"
    option = it.options.normalise
    value += f"; all are made one ({it.form})" if it.form else "; left as they are, so that they are different tokens"
    change = "--normalise nfc" if option == "none" else "--normalise none"
    return [Row(name="accents", value=value, data={"one": one, "several": several}, change=change, warning=not it.form)]


def _characters(it: Measured) -> list[Row]:
    counts = it.spool.counts
    present = counts[counts > 0]
    share = present / max(1, present.sum())
    once, bits = int((counts == 1).sum()), abs(float(share @ np.log2(share)))
    data: JsonValue = {"characters": it.characters, "distinct": len(present), "once": once}
    return [
        Row(name="characters", value=f"{it.characters:,}, {len(present):,} distinct, {once:,} seen once", data=data),
        Row(
            name="entropy of characters", value=f"{bits:.2f} bits each, by their frequencies alone", data=round(bits, 4)
        ),
    ]


def _sizes(it: Measured) -> list[Row]:
    sizes = np.frombuffer(it.survey.sizes, np.int64)
    if not len(sizes):
        return []
    low, median, usual, high = np.quantile(sizes, [0, 0.5, USUAL_SHARE, 1], method="inverted_cdf").astype(int).tolist()
    empty = it.survey.empty + it.problems.guessed.get("empty", Counter[str]()).get("lines", 0)
    also = f", and {empty:,} empty ones" if empty else ""
    value = f"{low:,} to {high:,} characters, half up to {median:,}, {USUAL_SHARE:.0%} up to {usual:,}"
    return [
        Row(name=it.noun, value=f"{len(sizes):,}{also}", data={"count": len(sizes), "empty": empty}),
        Row(name=f"length of {it.noun}", value=value, data=[low, median, usual, high]),
    ]


def _copies(it: Measured) -> list[Row]:
    rows = []
    count, copies, (shared, held) = len(it.survey.sizes), it.survey.copies, it.survey.shared_items
    if copies:
        value = f"{copies:,} of {count:,} {it.noun} occur again ({copies / count:.1%})"
        rows.append(Row(name="copies", value=value, data=copies, warning=copies > count / 2))
    if shared:
        value = f"{shared:,} of {held:,} held-out {it.noun} are in the training split too"
        leak = shared > LEAK * held
        value += ": figures of held-out text will flatter" if leak else ""
        rows.append(
            Row(
                name="copies across splits",
                value=value,
                data=shared,
                change="--splits none" if leak else "",
                warning=leak,
            )
        )
    return rows


def _tokens(it: Measured, vocabulary: Vocabulary) -> Row:
    kind, asked = parse(it.options.tokens)
    if kind == "char":
        distinct, known = int(np.count_nonzero(it.spool.counts)), len(vocabulary.known)
        value = f"{known:,} characters"
        if known < distinct:
            value += (
                f"; {distinct - known:,} more are not in the training text or seen under {RARE} times, and are escapes"
            )
        better = distinct > MANY_CHARACTERS
        return Row(name="tokens", value=value, data=vocabulary.size, change="--tokens byte" if better else "")
    if kind == "byte":
        return Row(name="tokens", value="256 bytes", data=vocabulary.size)
    size = len(vocabulary.token_bytes)
    value = f"{size:,} byte pairs" if size == asked else f"{size:,} of {asked:,} asked: the text has no more pairs"
    change = f"--tokens bpe:{size}" if 257 <= size < asked else ""
    return Row(name="tokens", value=value, data=vocabulary.size, change=change, warning=size < asked)


def _repair_rows(problems: Problems) -> list[Row]:
    mends = problems.mends
    if not mends:
        return []
    value = "; ".join(f"{count:,} {kind}" for kind, count in mends.most_common())
    bad = any("U+FFFD" in kind for kind in mends)
    return [Row(name="mended", value=value, data=dict(mends), change="--encoding NAME" if bad else "", warning=bad)]


def longer(skipped: int, cut: int, sizes: np.ndarray, length: int) -> list[Row]:
    """Return the row about items that have more tokens than an example: left out, or cut into several.

    sizes: tokens of every item, (N,) int64.
    """
    if not skipped + cut:
        return []
    most = np.quantile(sizes, USUAL_SHARE, method="inverted_cdf")
    wanted = most if most > length else sizes.max()
    result = next((option for option in LENGTHS if option >= wanted), LENGTHS[-1])
    how = "are left out" if skipped else "are cut into several"
    value = f"{skipped + cut:,} of {len(sizes):,} items have more than {length} tokens and {how}; "
    value += f"{USUAL_SHARE:.0%} have up to {int(most):,}, the longest {int(sizes.max()):,}"
    change = f"--length {result}" if result > length else ""
    return [Row(name="longer items", value=value, data=skipped + cut, change=change, warning=True)]
