"""What reading a site's documents costs at the least: `python -m … SITE`.

Owns: listing the tree, and two forked processes that read blobs and drain libyaml's events, making nothing of them.
"""

from __future__ import annotations

import os
import subprocess
import sys

from _ruamel_yaml import CParser, StreamEndEvent


def drain(site: str, blobs: list[bytes]) -> None:
    with subprocess.Popen(
        ["git", "-C", site, "cat-file", "--batch", "--buffer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reading:
        assert reading.stdin is not None
        assert reading.stdout is not None
        if os.fork() == 0:
            reading.stdin.write(b"\n".join(blobs) + b"\n")
            reading.stdin.close()
            os._exit(0)
        reading.stdin.close()
        for _ in blobs:
            size = int(reading.stdout.readline().split()[2])
            parser = CParser(reading.stdout.read(size + 1)[:-1])
            while type(parser.get_event()) is not StreamEndEvent:
                pass
    os.wait()


def main(site: str) -> None:
    listed = subprocess.run(["git", "-C", site, "ls-tree", "-r", "-z", "HEAD"], capture_output=True, check=True).stdout
    blobs = [line.split()[2] for line in listed.split(b"\0")[:-1] if line.endswith(b".yaml")]
    half = len(blobs) // 2
    if os.fork() == 0:
        drain(site, blobs[:half])
        os._exit(0)
    drain(site, blobs[half:])
    os.wait()


if __name__ == "__main__":
    main(sys.argv[1])
