"""One sentence for each metric, for whoever reads a table without its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

MEANINGS = {
    "judge accuracy": "How often the judge is right on held-out real examples.",
    "agreement": "Samples in which the judge sees the label that was asked for.",
    "agreement/*": "The same of one label.",
    "CAS": "Accuracy on real examples of a classifier that was trained on samples alone.",
    "FD": "Frechet distance: mean and covariance of the judge's features against real ones.",
    "FD-infinity": "The same, extrapolated to infinitely many samples.",
    "KID": "Distance of the judge's features from real ones, by a cubic kernel.",
    "KAD": "The same by a Gaussian kernel, which needs fewer samples.",
    "IS": "How sure the judge is of each sample, times how evenly the labels occur.",
    "mIS": "How differently the judge sees pairs of samples.",
    "AM": "Labels in other shares than in the data, and the judge's doubt of each sample.",
    "NDB": "Clusters of the data that samples fill with another share than real examples.",
    "JSD": "How much the shares of the same clusters differ.",
    "precision": "Samples that are near a real example.",
    "recall": "Real examples that are near a sample.",
    "density": "How many real examples are near a sample, where the data is dense 1.",
    "coverage": "Real examples that have a sample close by.",
    "nearest": "Median distance to the nearest training example; of held-out real examples 1.",
    "copies": "Samples much nearer to a training example than real examples are.",
    "held-out loss": "The training loss on examples that were held out.",
    "sample loss": "The training loss on the run's own samples.",
    "bits/*: prior": "The part of the bits that pure noise leaves.",
    "bits/*: diffusion": "The part of the bits that denoising takes.",
    "bits/*: reconstruction": "The part of the bits that the last rounding takes.",
    "bits/*: lengths": "The part of the bits that says how long each example is.",
    "bits/*: flow": "The bits by the probability flow, an estimate and no bound.",
    "bits/*": "What held-out examples cost in bits, at most.",
}
"""Meaning by the name of a metric, or by a pattern for several names; the first that fits counts."""


def meaning(name: str, own: Mapping[str, str] | None = None) -> str:
    """Return the sentence for the metric `name`, "" when there is none; a modality's `own` come first."""
    for known in (own or {}, MEANINGS):
        if name in known:
            return known[name]
        for pattern, sentence in known.items():
            if fnmatchcase(name, pattern):
                return sentence
    return ""
