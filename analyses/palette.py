"""The colours of the techniques, and their line styles: one palette for charts, the atlas and its legend.

Belongs here: what says which technique, or whose line, something is. Okabe and Ito's hues, told apart by the
colour-blind. Nothing here imports what draws, so that it may be asked before anything is drawn.
"""

TECHNIQUES = {"activations": "#0072b2", "lesions": "#d55e00", "patches": "#009e73", "saliency": "#cc79a7"}
"""On white."""

TECHNIQUES_ON_DARK = {"activations": "#56b4e9", "lesions": "#ff9248", "patches": "#2cc795", "saliency": "#e7a3c9"}
"""On the dark ground of the page."""

MAPS = {"consensus": "#000000", "paper": "#767676"}
"""The maps that are made of them: no technique's hue."""

OTHERS = ("#000000", "#e69f00", "#56b4e9", "#8a8a8a")
"""What is no technique, such as models or arms of a trial: the hues that none of them has."""
