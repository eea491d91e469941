#!/usr/bin/env python3
"""Draws docs/session.svg, the terminal session of the README, from commands that are really run.

    cd docs && python3 session.py ../build/quickstart/build/cli/internvl

Runs the commands below in an empty folder and draws what they print (both streams, as a terminal shows them).
Needs nothing beyond Python.
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import tempfile

COMMANDS = (
    "internvl devices",
    "internvl synth internvit-300m-448 -o model",
    "internvl embed model photos/ -o embeddings/",
    "internvl embed model photos/ -o embeddings/",
    "internvl info --arch internvit-6b-224 --device-memory 4GiB",
)
COLUMNS = 112
WIDTH, HEIGHT = 7.8, 17


def as_shown(output):
    """Lines of progress replace one another on a terminal; the last one stays."""
    lines = output.splitlines()
    return [line for line, after in zip(lines, lines[1:] + [""]) if not (is_progress(line) and is_progress(after))]


def is_progress(line):
    return re.match(r"embed +\d+/\d+ ", line) is not None


def run_session(program, samples):
    """The lines of the session: (text, is a command)."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(program, pathlib.Path(folder) / "internvl")
        os.symlink(samples, pathlib.Path(folder) / "photos")
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb"}
        for command in COMMANDS:
            lines.append((f"$ {command}", True))
            done = subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            lines += [(line[:COLUMNS], False) for line in as_shown(done.stdout)]
    return lines


def draw(lines):
    width, height = COLUMNS * WIDTH + 24, len(lines) * HEIGHT + 24
    rows = []
    for i, (text, command) in enumerate(lines):
        colour = "#7ee787" if command else "#e6edf3"
        rows.append(f'<text x="12" y="{24 + i * HEIGHT}" fill="{colour}" xml:space="preserve">{html.escape(text, quote=False)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13">\n'
        f'<rect width="100%" height="100%" rx="6" fill="#0d1117"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: session.py PROGRAM")
    here = pathlib.Path(__file__).resolve().parent
    lines = run_session(pathlib.Path(sys.argv[1]).resolve(), here / "samples")
    (here / "session.svg").write_text(draw(lines))


if __name__ == "__main__":
    main()
