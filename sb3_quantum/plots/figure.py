"""Figures of matplotlib without pyplot, global state or windows."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, **kwargs: Any) -> "Figure":
    """
    Make an empty figure that has no window and need not be closed.

    :param width: in inches
    :param height: in inches
    :param kwargs: further arguments of ``matplotlib.figure.Figure``
    :return: the figure
    :raises ImportError: if matplotlib is missing
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "sb3-quantum[plots]"') from error
    return Figure(figsize=(width, height), **kwargs)
