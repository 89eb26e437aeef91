#!/usr/bin/env python3
"""Shows what a program writes to a terminal, as an SVG.

usage: terminal.py FILE PROGRAM ARGUMENT…    writes FILE
       terminal.py --compare FILE FILE       fails if they show different texts, apart from times, durations and ids
"""

import difflib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from html import escape
from xml.etree import ElementTree

COLUMNS, LINES = 124, 400
WIDTH, HEIGHT, MARGIN, BAR = 8.4, 19, 18, 36
SVG = "{http://www.w3.org/2000/svg}"
# The colours of the terminal, readable on its dark background.
PALETTE = {
    "black": "#6b7688", "red": "#ff8a80", "green": "#5fce93", "brown": "#f0b35a", "blue": "#8ab0ff", "magenta": "#c9a3f5",
    "cyan": "#6fd3dd", "white": "#e6eaf0", "brightblack": "#8a96a8", "brightred": "#ffb0a8", "brightgreen": "#8fe6b5",
    "brightbrown": "#ffd08a", "brightyellow": "#ffd08a", "brightblue": "#b3ccff", "brightmagenta": "#dcc4ff", "brightcyan": "#a0e6ec",
    "brightwhite": "#ffffff",
}
TEXT, BACKGROUND, SOFT = "#d5dbe4", "#11151b", "#8a96a8"


def main():
    if sys.argv[1] == "--compare":
        compare(*sys.argv[2:])
        return
    target, *command = sys.argv[1:]
    screen = run(command)
    lines = [screen.buffer[number] for number in range(LINES)]
    texts = screen.display
    last = max((number for number in range(LINES) if texts[number].strip()), default=0)
    title = " ".join(["eso-sync", *command[1:]])
    with open(target, "w", encoding="utf-8") as file:
        file.write(svg(title, lines[: last + 1]))


def run(command):
    """Returns the screen after the program has ended."""
    import pyte

    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        home = os.environ.get("HOME", "/")
        os.execve(command[0], command, {"PATH": os.defpath, "HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            # Linux reports the end of a terminal as an error.
            break
        if not data:
            break
        stream.feed(data)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit("\n".join(line.rstrip() for line in screen.display if line.strip()) + f"\nexit code {code} of {' '.join(command)}")
    return screen


def svg(title, lines):
    width = round(COLUMNS * WIDTH + 2 * MARGIN)
    height = BAR + len(lines) * HEIGHT + 2 * MARGIN + HEIGHT
    rows = [prompt(title)]
    for number, line in enumerate(lines, start=1):
        spans = [span(*part) for part in parts(line)]
        if spans:
            rows.append(f'<text y="{BAR + MARGIN + number * HEIGHT}">{"".join(spans)}</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>{escape(title)}</title>
<rect width="{width}" height="{height}" rx="10" fill="{BACKGROUND}"/>
<circle cx="22" cy="20" r="6" fill="#ff8a80"/><circle cx="42" cy="20" r="6" fill="#f0b35a"/><circle cx="62" cy="20" r="6" fill="#5fce93"/>
<g font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="{TEXT}" xml:space="preserve">
{chr(10).join(rows)}
</g>
</svg>
"""


def prompt(title):
    return f'<text y="{BAR + MARGIN}"><tspan x="{MARGIN}" fill="{SOFT}">$ </tspan><tspan font-weight="600">{escape(title)}</tspan></text>'


def parts(line):
    """The parts of a line with the same look: their column, text and look."""
    end = max((column for column in range(COLUMNS) if line[column].data.strip()), default=-1)
    column = 0
    while column <= end:
        look = looks(line[column])
        text, start = "", column
        while column <= end and looks(line[column]) == look:
            text += line[column].data
            column += 1
        # Gaps between columns are not drawn: a wider font cannot shift what follows.
        for match in re.finditer(r"\S+(?: \S+)*", text):
            yield start + match.start(), match.group(), look


def looks(cell):
    return cell.fg, cell.bold


def span(column, text, look):
    color, is_bold = look
    fill = PALETTE.get(color) or (f"#{color}" if re.fullmatch("[0-9a-f]{6}", color) else None)
    attributes = f' fill="{fill}"' if fill else ""
    attributes += ' font-weight="600"' if is_bold else ""
    length = f' textLength="{len(text) * WIDTH:g}"' if len(text) > 1 else ""
    return f'<tspan x="{MARGIN + column * WIDTH:g}"{length}{attributes}>{escape(text)}</tspan>'


def compare(old, new):
    name, old, new = old, shown(old), shown(new)
    if old != new:
        sys.exit("\n".join([f"{name} is old, run docs/pictures/make:", *difflib.unified_diff(old, new, name, "a run", lineterm="", n=1)]))


def shown(path):
    """The lines of a picture or a text, without what differs from run to run, and without their colours' columns."""
    lines = []
    for line in text_lines(path):
        # Ids, times, durations and what is counted while time passes.
        line = re.sub(r"\d{8}t\d{6}z-[0-9a-f]{8}", "ID", line)
        line = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", "TIME", line)
        line = re.sub(r"\b\d+(\.\d+)?\s?(ms|s|m|h)\b(\d+s)?", "DURATION", line)
        line = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", line)
        line = re.sub(r"\[ ?\d+/(\d+)\]|\d+ API requests|\d+ to azurekv", r"COUNT \1", line)
        line = re.sub(r"\b([a-z]+)-(?:[0-9a-f]{8,10}-)?[a-z0-9]{5}(?=,|$)", r"\1-POD", line)
        lines.append(re.sub(r"\s+", " ", line).strip())
    # Syncs and restarts of the same moment end in any order, and a throttled store is reported or not, in a line that is wrapped.
    return sorted(line for line in lines if not re.search(r"throttles requests|\brate=\d", line))


def text_lines(path):
    if path.endswith(".txt"):
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    texts = ElementTree.parse(path).iter(f"{SVG}text")
    return [" ".join("".join(span.itertext()) for span in text) for text in texts]


main()
