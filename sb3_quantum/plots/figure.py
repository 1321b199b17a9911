"""How matplotlib is used here: through its figure class, without pyplot, its global state or a window."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, **kwargs: Any) -> "Figure":
    """
    An empty figure that no window shows and nobody has to close.

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
