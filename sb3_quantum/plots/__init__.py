from sb3_quantum.plots.arms import arms_figure
from sb3_quantum.plots.callback import FigureCallback
from sb3_quantum.plots.circuit import circuit_figure
from sb3_quantum.plots.cost import cost_figure
from sb3_quantum.plots.film import film_frames, write_film
from sb3_quantum.plots.runs import Curve, Run, load_run, runs_figure
from sb3_quantum.plots.style import STYLE

__all__ = [
    "STYLE",
    "Curve",
    "FigureCallback",
    "Run",
    "arms_figure",
    "circuit_figure",
    "cost_figure",
    "film_frames",
    "load_run",
    "runs_figure",
    "write_film",
]
