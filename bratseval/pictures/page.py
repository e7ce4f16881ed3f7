"""The page of a picture: title, panels, the numbers, what the colors mean, notes; drawn as a PNG.

Lengths are pixels, of a page that is 1200 wide. All text goes through `fitted`, since names of teams and
cases are strangers': it is measured, wrapped or shortened, never read as mathematics, and what the font does
not have is escaped.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bratseval.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, MARGIN, GAP = 1200, 16, 12
PANELS, LEAST = 330, 3.0  # height of the panels, and how many slots share the width if there are fewer
TITLE, TEXT, SMALL = 25.0, 20.0, 18.0  # sizes of letters
ROW = 28
KEY = 38  # from a sample of the legend to its text
INK, FAINT, TINT, PAPER = "#1a1a1a", "#5c5c5c", "#fff1c2", "#ffffff"
BACKDROP = "#595959"  # behind lines of the legend, as behind those of a plane without an image


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of the row; slots: its share of the width, 1 for one of several equal ones."""

    title: str
    draw: Callable[[Axes], None]
    slots: float = 1
    frame: tuple[int, int, int, int] = (0, 0, 0, 0)  # room for labels at the left, right, top and bottom


@dataclass(frozen=True, slots=True)
class Key:
    """What a color or a line means."""

    text: str
    color: Any
    kind: Literal["patch", "line", "dashes", "marker", "cross"] = "patch"
    hatch: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The table below the panels: a row a metric; ``marked`` names the column that the panels show."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    marked: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that is on a picture."""

    title: str
    subtitle: str
    panels: Sequence[Panel]
    numbers: Numbers
    keys: Sequence[Key] = ()
    notes: Sequence[str] = ()
    corner: str = ""  # at the right of the title, where there is room


def render(page: Page) -> bytes:
    """Draw a page; the same page gives the same bytes."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where its cache cannot be is nobody's problem
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own file says
        matplotlib.rcParams.update({"hatch.linewidth": 1.6, "path.simplify": True})
        return _png(_drawn(page))


def _drawn(page: Page) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inner = WIDTH - 2 * MARGIN
    title = fitted(page.title, inner, TITLE, lines=2, bold=True)
    subtitle = fitted(page.subtitle, inner, SMALL, lines=2)
    top = MARGIN + 34 * len(title) + 25 * len(subtitle) + 8
    captions = 27 if any(panel.title for panel in page.panels) else 0
    below = top + captions + PANELS + 14
    keys_left = _keys_left(page.keys)
    headed = any(page.numbers.columns)
    table = ROW * (len(page.numbers.rows) + headed) + 8 if page.numbers.rows else 0
    notes = [line for note in page.notes for line in fitted(note, keys_left - 24 - MARGIN, SMALL, lines=4)]
    height = below + max(table + 24 * len(notes), ROW * len(page.keys)) + MARGIN
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set_axis_off()
    sheet.set_xlim(0, WIDTH)
    sheet.set_ylim(height, 0)
    y = float(MARGIN)
    for line in title:
        write(sheet, MARGIN, y + 14, line, TITLE, bold=True)
        y += 34
    corner = "".join(fitted(page.corner, inner / 3, SMALL)[:1])
    if len(title) == 1 and measured(title[0], TITLE, bold=True) < 0.6 * inner:
        write(sheet, WIDTH - MARGIN, MARGIN + 14, corner, SMALL, right=True, color=FAINT)
    for line in subtitle:
        write(sheet, MARGIN, y + 12, line, SMALL, color=FAINT)
        y += 25
    _draw_panels(figure, sheet, page.panels, top, captions, height)
    _draw_numbers(sheet, page.numbers, below, keys_left - 24)
    for row, key in enumerate(page.keys):
        _draw_key(sheet, key, keys_left, below + ROW * (row + 0.5))
    y = below + table
    for line in notes:
        write(sheet, MARGIN, y + 12, line, SMALL)
        y += 24
    return figure


def _draw_panels(
    figure: Figure, sheet: Axes, panels: Sequence[Panel], top: float, captions: int, height: float
) -> None:
    x = float(MARGIN)
    for panel in panels:
        width = panel_size(panel.slots, [one.slots for one in panels])[0]
        for line in fitted(panel.title, width, SMALL)[:1]:
            write(sheet, x, top + 12, line, SMALL, bold=True)
        left, right, above, below = panel.frame
        y = top + captions + above
        box = (width - left - right, PANELS - above - below)
        axes = figure.add_axes(
            ((x + left) / WIDTH, 1 - (y + box[1]) / height, box[0] / WIDTH, box[1] / height)
        )
        panel.draw(axes)
        x += width + GAP


def panel_size(slots: float, panels: Sequence[float]) -> tuple[float, float]:
    """Width and height of a panel without a frame among panels of these slots."""
    slot = (WIDTH - 2 * MARGIN - GAP * (len(panels) - 1)) / max(sum(panels), LEAST)
    return slot * slots, float(PANELS)


def _keys_left(keys: Sequence[Key]) -> float:
    """Where the keys begin, at the right of the numbers, so that the longest has room."""
    widths = [KEY + measured(plain(key.text), SMALL) + 2 for key in keys]
    return WIDTH - MARGIN - min(max(widths, default=0.0), 0.45 * WIDTH)


def _draw_numbers(sheet: Axes, numbers: Numbers, top: float, right: float) -> None:
    from matplotlib.patches import Rectangle

    if not numbers.rows:
        return
    names = [fitted(name, 300, TEXT)[0] for name, _ in numbers.rows]
    x = MARGIN + max(measured(name, TEXT) for name in names) + 20
    first = int(any(numbers.columns))
    for row, name in enumerate(names, start=first):
        write(sheet, MARGIN, top + ROW * (row + 0.5), name, TEXT)
    columns = _columns(numbers, right - x)
    for at, heading, width in columns:
        bold = bool(numbers.marked) and numbers.columns[at] == numbers.marked
        if bold:
            box = Rectangle((x, top), width, ROW * (len(names) + first), facecolor=TINT, edgecolor="none")
            sheet.add_patch(box)
        end = x + width - 11
        write(sheet, end, top + ROW * 0.5, heading, TEXT, bold=bold, right=True, color=INK if bold else FAINT)
        for row, (_, cells) in enumerate(numbers.rows, start=first):
            write(sheet, end, top + ROW * (row + 0.5), plain(cells[at]), TEXT, bold=bold, right=True)
        x += width
    if len(columns) < len(numbers.columns):
        write(sheet, x + 8, top + ROW * 0.5, "...", TEXT, color=FAINT)


def _columns(numbers: Numbers, room: float) -> list[tuple[int, str, float]]:
    """Index, heading and width of the columns that there is room for; the marked one is always among them."""
    widths = []
    for at, name in enumerate(numbers.columns):
        heading = "".join(fitted(name, 170, TEXT)[:1])
        texts = [heading, *(plain(cells[at]) for _, cells in numbers.rows)]
        widths.append((at, heading, max(measured(text, TEXT, bold=True) for text in texts) + 22))
    if sum(width for *_, width in widths) <= room:
        return widths
    shown: list[tuple[int, str, float]] = []
    first = [one for one in widths if numbers.columns[one[0]] == numbers.marked]
    for one in [*first, *(other for other in widths if other not in first)]:
        if sum(width for *_, width in [*shown, one]) > room - 40:
            break
        shown.append(one)
    return sorted(shown)


def _draw_key(sheet: Axes, key: Key, x: float, y: float) -> None:
    from matplotlib.patches import Rectangle

    for line in fitted(key.text, WIDTH - MARGIN - x - KEY, SMALL)[:1]:
        write(sheet, x + KEY, y, line, SMALL)
    box = ((x, y - 10), 28, 20)
    if key.kind == "patch":
        sheet.add_patch(Rectangle(*box, facecolor=key.color, edgecolor="none"))
        if key.hatch:
            sheet.add_patch(
                Rectangle(*box, facecolor="none", edgecolor="black", linewidth=0, hatch=key.hatch)
            )
        return
    if key.kind in ("marker", "cross"):
        style: Any = "o" if key.kind == "marker" else "X"
        sheet.plot([x + 14], [y], style, color=key.color, markersize=9, markeredgecolor=INK)
        return
    sheet.add_patch(Rectangle(*box, facecolor=BACKDROP, edgecolor="none"))
    draw_line(sheet, [(x, y), (x + 28, y)], key.color, dashed=key.kind == "dashes")


def draw_line(axes: Axes, points: Any, color: Any, *, dashed: bool) -> None:
    """A line that is seen on any background: dark beside, and dashes by which it is told from the other."""
    from matplotlib.lines import Line2D

    xs, ys = zip(*points, strict=True)
    style: Any = (0, (3.2, 1.8)) if dashed else "solid"
    if not dashed:
        axes.add_line(Line2D(xs, ys, color="black", linewidth=2.9, solid_joinstyle="miter"))
    axes.add_line(Line2D(xs, ys, color=color, linewidth=1.7, linestyle=style, dash_capstyle="butt"))


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    bold: bool = False,
    right: bool = False,
    color: str = INK,
) -> None:
    """One line of text whose middle is at a height."""
    axes.text(
        x,
        y,
        text,
        fontproperties=_properties(bold, size),
        color=color,
        ha="right" if right else "left",
        va="center",
        parse_math=False,
    )


def label(axes: Axes, x: float, y: float, text: str, *, ha: Any = "center", va: Any = "center") -> None:
    """White text with a dark edge at a share of the width and height of a panel."""
    from matplotlib.patheffects import withStroke

    axes.text(
        x,
        y,
        plain(text),
        transform=axes.transAxes,
        fontproperties=_properties(True, SMALL),
        color="white",
        ha=ha,
        va=va,
        parse_math=False,
        path_effects=[withStroke(linewidth=2.5, foreground="black")],
    )


def style_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """Ticks and labels of a diagram in the letters of the page."""
    axes.set_facecolor(PAPER)
    axes.set_xlabel(x_label, fontproperties=_properties(False, SMALL), labelpad=2, parse_math=False)
    axes.set_ylabel(y_label, fontproperties=_properties(False, SMALL), labelpad=2, parse_math=False)
    axes.tick_params(labelsize=15 * 0.72, length=3, pad=2)
    axes.grid(color="#d9d9d9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def fitted(text: str, width: float, size: float, *, lines: int = 1, bold: bool = False) -> list[str]:
    """Text in at most so many lines of a width; of what is longer the middle is left out."""
    words = plain(text)
    if not words:
        return []
    wrapped = _wrapped(words, width, size, bold)
    keep = len(words)
    while len(wrapped) > lines:
        keep = min(keep - 1, int(keep * 0.94))
        wrapped = _wrapped(shortened(words, keep), width, size, bold)
        if keep < 4:
            break
    return wrapped[:lines]


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with dots for the middle of a longer one."""
    if len(text) <= most:
        return text
    head = max((most - 3) * 2 // 3, 1)
    return text[:head] + "..." + text[len(text) - max(most - 3 - head, 1) :]


def _wrapped(text: str, width: float, size: float, bold: bool) -> list[str]:
    """Lines broken at spaces, and within words that are longer than a line."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if measured(longer, size, bold=bold) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while measured(line, size, bold=bold) > width and len(line) > 1:
            cut = len(line)
            while measured(line[:cut], size, bold=bold) > width and cut > 1:
                cut = min(cut - 1, int(cut * 0.95))
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def plain(text: str) -> str:
    """Text that the font can show: control characters and letters that it lacks are escaped."""
    known = _letters()
    return "".join(
        letter if ord(letter) in known else letter.encode("unicode_escape").decode()
        for letter in printable(text)
    )


def measured(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of plain text."""
    return size * sum(_advance(letter, bold) for letter in text)


@cache
def _font_file(bold: bool) -> str:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", name))


@cache
def _properties(bold: bool, size: float) -> Any:
    """The font that comes with matplotlib, so that a picture is the same everywhere; size in pixels."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=_font_file(bold), size=size * 0.72)


@cache
def _font(bold: bool) -> Any:
    from matplotlib.ft2font import FT2Font

    font = FT2Font(_font_file(bold))
    font.set_size(100, 72)  # a hundred pixels
    return font


@cache
def _letters() -> frozenset[int]:
    """What both fonts can show."""
    return frozenset(_font(False).get_charmap().keys() & _font(True).get_charmap().keys())


@cache
def _advance(letter: str, bold: bool) -> float:
    """Width of a letter of the font, as a share of its size."""
    return float(_font(bold).load_char(ord(letter)).linearHoriAdvance) / 65536 / 100


def _png(figure: Figure) -> bytes:
    """The page as a PNG of at most 256 colors, without a date or the name of a program."""
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    width, height = canvas.get_width_height()
    picture = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    # Rare colors, such as those of the legend, must not give way to many grays: no median cut.
    few = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "PNG", compress_level=6)
    return file.getvalue()
