"""The drill's picture of each fleet, one below the other."""

from collections.abc import Mapping
from html import escape

from deploy.drill.timeline import LEFT, OWNERS_HEIGHT, RATE_HEIGHT, TOP, WIDTH

GAP = 40
HEIGHT = TOP + OWNERS_HEIGHT + RATE_HEIGHT + 10


def stacked(pictures: Mapping[str, str]) -> str:
    """An SVG picture of several, each with its title."""
    parts = []
    for number, (title, picture) in enumerate(pictures.items()):
        y = number * (HEIGHT + GAP)
        parts.append(f'<text x="{LEFT}" y="{y + GAP - 12}" font-size="20">{escape(title)}</text>')
        parts.append(picture.replace("<svg ", f'<svg y="{y + GAP}" ', 1))
    height = len(pictures) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
