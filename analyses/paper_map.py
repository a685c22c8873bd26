"""The knowledge map as the paper draws it: regions of smoothed profiles, laid over each other.

Its rules are kept to the letter (`docs/techniques.md` quotes them); where the paper is silent, the choice is named at
the function. Our own map, which weighs techniques by what they find of planted knowledge, is in `mapping`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.ndimage import gaussian_filter1d

from analyses.marking import runs
from analyses.resampling import Floats

SMOOTHING = 1.0
"""Standard deviation of the Gaussian that profiles are smoothed with, in layers."""

WINDOW = 3
"""Layers in which the silhouette rises fastest."""

PERCENTILE, SHORTEST, MOST = 75.0, 2, 3
"""Runs of layers above this percentile, at least so long, at most so many."""

PAPER_PROFILES: Mapping[str, tuple[str, str]] = {
    "activations": ("silhouette_umap", "last"),
    "saliency": ("mean_abs_gradient", "last"),
    "lesions": ("identity_log_probability_drop", "last"),
    "patches": ("resid_restored", "last"),
}
"""Metric and position of each technique's profile. The paper has a language model judge the answers under lesion; the
drop of the answer's log-probability stands in for it, because a judge is asked only on request."""


WITHOUT_SILHOUETTES = ("age",)
"""The concept that the paper excepts from the rule of rising silhouettes."""


@dataclass(frozen=True)
class PaperMarks:
    """What one technique marks by the paper's rule.

    Attributes:
        smoothed: the profile, shape (layers,).
        regions: first and last layer of each.
    """

    smoothed: Floats
    regions: tuple[tuple[int, int], ...]

    @property
    def marked(self) -> Floats:
        """1 in a region, else 0, shape (layers,)."""
        found = np.zeros(len(self.smoothed))
        for first, last in self.regions:
            found[first : last + 1] = 1.0
        return found


def fastest_rise(smoothed: Floats) -> tuple[tuple[int, int], ...]:
    """The window of `WINDOW` layers over which the silhouette rises most; none where it never rises.

    Of several the lowest. A model of fewer layers is its own window.
    """
    width = min(WINDOW, len(smoothed))
    rises = smoothed[width - 1 :] - smoothed[: len(smoothed) - width + 1]
    first = int(rises.argmax())
    return ((first, first + width - 1),) if rises[first] > 0 else ()


def high_runs(smoothed: Floats) -> tuple[tuple[int, int], ...]:
    """The runs of at least `SHORTEST` layers above the percentile; of more than `MOST`, those with the highest mean."""
    found = runs(smoothed > np.percentile(smoothed, PERCENTILE))
    long = [run for run in found if run[1] - run[0] + 1 >= SHORTEST]
    highest = sorted(long, key=lambda run: float(-smoothed[run[0] : run[1] + 1].mean()))[:MOST]
    return tuple(sorted(highest))


def paper_marks(profiles: pl.DataFrame, concept: str, labelling: str, layers: int) -> dict[str, PaperMarks]:
    """What each technique marks, for one model, concept and labelling.

    Args:
        profiles: the rows of `profiles` of one model and concept.
        concept: which concept.
        labelling: which labelling.
        layers: layers of the model.

    Returns:
        By technique, for those that measured every layer.
    """
    found = {}
    of_labelling = profiles.filter(labelling=labelling, variant="", template_kind="asking")
    for technique, (metric, position) in PAPER_PROFILES.items():
        if technique == "activations" and concept in WITHOUT_SILHOUETTES:
            continue
        profile = of_labelling.filter(pl.col("layer") >= 0, technique=technique, metric=metric, position=position).sort(
            "layer"
        )
        if profile["layer"].to_list() != list(range(layers)):
            continue
        smoothed = np.asarray(gaussian_filter1d(profile["value"].to_numpy(), SMOOTHING))
        regions = fastest_rise(smoothed) if technique == "activations" else high_runs(smoothed)
        found[technique] = PaperMarks(smoothed, regions)
    return found
