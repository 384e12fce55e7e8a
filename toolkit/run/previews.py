"""The pictures of a run, for every modality: samples, and from noise to sample as a strip and as an animation.

How many samples they show follows from the length of the run (`amounts`). A picture is there whole or not at all:
`watch`, which is called after each step of the sampler, may raise to leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from toolkit.diffusion.adaptive import Adaptive
from toolkit.diffusion.randomness import seeded_generator as random_generator
from toolkit.modality import Examples
from toolkit.recipe import Recipe, build
from toolkit.run.samples import drain, gather
from toolkit.training.budget import PASSES
from toolkit.training.storage.files import write_stream_atomic, write_text_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

    from toolkit.run.generator import Generator
    from toolkit.training.batches import Batches

FILM = 9
"""Samples on the way from noise to sample."""
READ = 3
"""Samples that are printed."""
FEW = 4
"""Samples in a picture of a run that is too short for more."""
SHARE = 0.1
"""Share of a run's training that its pictures may take."""
AT_ONCE = 16
"""Samples that are drawn together: on a processor more are hardly faster, and a stop has to wait for a step of all."""
SHOWN, SEARCHED = 24, 2000
"""Real examples on a page, and how many are searched for some of each label."""

T = TypeVar("T")
Watch = Callable[[], object]
"""Called after each step of the sampler; may raise to stop."""


class Amounts(NamedTuple):
    """Samples in each kind of picture."""

    preview: int
    """0: none is drawn on the way."""
    final: int
    film: int


def amounts(recipe: Recipe, shown: tuple[int, int], steps: int) -> Amounts:
    """Samples to draw in a run of so many training steps.

    All that a modality shows, where that takes at most `SHARE` of the training, by network calls: a training step
    takes as long as `PASSES` calls. Else so much fewer, but at least `FEW`, and where so many on the way are too many,
    none there.
    """
    allowed = SHARE * PASSES * recipe.train.batch * steps / calls(recipe)
    factor = min(1.0, allowed / (max(0, recipe.train.previews - 1) * shown[0] + shown[1] + FILM))
    preview, final, film = (int(factor * n + 1e-9) for n in (*shown, FILM))
    few = [min(FEW, n) for n in (*shown, FILM)]
    return Amounts(preview if preview >= few[0] else 0, max(final, few[1]), max(film, few[2]))


def calls(recipe: Recipe) -> int:
    """Network calls that the recipe's sampling takes for one example."""
    chosen = recipe.sample
    guided = 1 if chosen.guidance in (0, 1) else 2
    spec = {"name": chosen.sampler["name"]} if isinstance(chosen.sampler, dict) else chosen.sampler
    return chosen.total_steps() * build.sampler(spec).calls * guided


def draw(
    generator: Generator, path: Path, n: int, real: Callable[[], Examples], watch: Watch | None = None
) -> tuple[Path, list[str]]:
    """A picture of n samples, by the same code as `toolkit sample`, and a page with `real` examples where the modality
    has one. Returns which of them to look at, and the first samples as lines where they can be read.
    """
    modality = generator.modality
    samples = drain(watch_steps(generator.steps(n, seed=generator.recipe.train.seed, batch=AT_ONCE), watch))
    raw, page = samples.raw, path.with_suffix(".html")
    text = modality.view().page(raw, samples.labels, real())
    if text:
        write_text_atomic(page, text)
    _save(modality.preview(raw, samples.labels), path)
    return page if text else path, modality.view().lines(raw[:READ], samples.labels[:READ])


def watch_steps(steps: Iterable[T], watch: Watch | None) -> Iterator[T]:
    """Yield steps of the sampler, and call `watch` after each."""
    for step in steps:
        if watch:
            watch()
        yield step


def some(batches: Batches, seed: int) -> Examples:
    """A few training examples, of all labels alike, to compare with."""
    data, known = batches.dataset, len(batches.modality.labels)
    order = torch.randperm(len(data), generator=random_generator(seed, "shown"))[:SEARCHED]
    examples = data.take(order)
    if not known:
        return Examples(examples.raw[:SHOWN], {name: v[:SHOWN] for name, v in examples.cond.items()})
    each = max(1, SHOWN // known)
    label = examples.cond["label"]
    chosen = torch.cat([(label == i).nonzero()[:each, 0] for i in range(known)])
    return Examples(examples.raw[chosen], {name: v[chosen] for name, v in examples.cond.items()})


def moments(generator: Generator, n: int = FILM, count: int = 10, seed: int = 0, watch: Watch | None = None) -> Tensor:
    """n samples at `count` moments on their way, noise first, in the modality's raw form: (count, n, ...).

    What is shown is x_t / sqrt(alpha_t^2 + sigma_t^2), which has the variance of the data at every t.
    """
    known = generator.modality.labels
    schedule = generator.denoiser.schedule
    labels = [i % len(known) for i in range(n)] if known else None
    parts = []
    for job in generator.requests(n, labels, seed):
        chosen = [labels[i] for i in job.which] if labels else None
        states = []
        for step in watch_steps(generator.trajectory(job.which, chosen, seed=seed, request=job), watch):
            alpha, sigma = schedule(torch.tensor(step.s, dtype=torch.float64))
            x = (step.x / torch.sqrt(alpha**2 + sigma**2)).float()
            cond = {name: value.to(x.device) for name, value in job.cond.items()}
            states.append(generator.denoiser.unembed(x, cond).cpu())
        shown = torch.linspace(0, len(states) - 1, min(count, len(states))).round().long().tolist()
        parts.append((job.which, torch.stack([states[i] for i in shown], 1)))
    return torch.stack([generator.modality.decode(moment) for moment in gather(parts).unbind(1)])


def film(generator: Generator, stem: Path, n: int = FILM, watch: Watch | None = None) -> list[Path]:
    """Write `moments` as stem.png, a strip, and stem.gif, which rests on the last moment."""
    raw = moments(generator, n, watch=watch)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".gif")]
    _save(generator.modality.view().strip(raw), paths[0])
    frames = [generator.modality.preview(moment) for moment in raw]
    times = [150] * (len(frames) - 1) + [2000]
    _save(frames[0], paths[1], save_all=True, append_images=frames[1:], duration=times, loop=0)
    return paths


def keep(path: Path, step: int) -> None:
    """Call a picture of an earlier end, after `step`, by a name of its own: the longer run draws its own end.

    final.png becomes step-00000060.png, noise-to-sample.gif noise-to-sample-00000060.gif.
    """
    if not path.is_file():
        return
    stem = f"{'step' if path.stem == 'final' else path.stem}-{step:08d}"
    names = (f"{stem}{'' if i == 1 else f'-{i}'}{path.suffix}" for i in count(1))
    path.rename(next(new for new in map(path.with_name, names) if not new.exists()))


def draw_times(learned: Adaptive, path: Path) -> Path:
    """Plot what a time distribution has learned: what is unknown at each noise level, and how often that is visited."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    level = learned.edges.exp()
    middle = (level[1:] * level[:-1]).sqrt()
    if int((learned.count > 0).sum()) >= 3:
        left.plot(middle, learned.means(), color="#b5541c")
    right.stairs(learned.shares() * learned.bins, level, color="#1f7a5c", fill=True, alpha=0.25)
    right.stairs(learned.initial * learned.bins, level, color="#6b6b70", linestyle=":")
    left.set(xscale="log", xlabel="noise, sigma / alpha", ylabel="unknown (line)")
    right.set(ylabel="density, 1 = even (dotted: at first)", ylim=(0, None))
    write_stream_atomic(path, lambda stream: figure.savefig(stream, format="png", dpi=110))
    return path


def _save(picture: Image, path: Path, **options: Any) -> None:
    """Save a picture in one step, so one that is there is whole; what is missing after a kill is drawn again."""
    write_stream_atomic(path, lambda stream: picture.save(stream, path.suffix[1:], **options))
