#!/usr/bin/env python3
"""Prints every image that is not pinned by its digest, and every action that is not pinned by its commit.

usage: pins.py FILE…      Dockerfiles, workflows and action.yml
"""

import pathlib
import re
import sys

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
COMMIT = re.compile(r"@[0-9a-f]{40}$")


def unpinned_in_dockerfile(text):
    """Stages and build arguments are names for images that are checked where they are defined."""
    stages, arguments = set(), {}
    for line in text.splitlines():
        words = [word for word in line.split() if not word.startswith("--platform=")]
        if match := re.match(r"#\s*syntax\s*=\s*(\S+)", line):
            words = ["FROM", match[1]]
        if words[:1] == ["ARG"] and "=" in line:
            name, _, value = words[1].partition("=")
            arguments[name] = value
        images = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
        images += re.findall(r"--mount=\S*\bfrom=([^\s,]+)", line)
        if words[:1] == ["FROM"]:
            images.append(words[1])
        for image in images:
            known = re.sub(r"\$\{?(\w+)\}?", lambda match: arguments.get(match[1], match[0]), image)
            if known != "scratch" and known not in stages and not DIGEST.search(known):
                yield f"the image {image} has no digest"
        if words[:1] == ["FROM"] and words[2:3] and words[2].upper() == "AS":
            stages.add(words[3])


def unpinned_in_workflow(text):
    for match in re.finditer(r"^\s*(?:-\s+)?(uses|image|container):[ \t]*([^\s#]*)", text, re.MULTILINE):
        key, value = match[1], match[2].strip("'\"")
        if key == "uses" and not value.startswith("./") and not value.startswith("docker://"):
            if not COMMIT.search(value):
                yield f"the action {value} has no commit"
        # Without a value, the key is the name of a job, or `container:` is a map with the key `image`.
        elif value and not value.startswith("./") and not DIGEST.search(value):
            yield f"the image {value} has no digest"


def main():
    found = []
    for name in sys.argv[1:]:
        text = pathlib.Path(name).read_text()
        check = unpinned_in_dockerfile if pathlib.Path(name).name.startswith("Dockerfile") else unpinned_in_workflow
        found += [f"{name}: {what}" for what in check(text)]
    for what in found:
        print(what)
    sys.exit(1 if found else 0)


main()
