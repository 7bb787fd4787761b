"""One run at a time in a folder of results."""

import fcntl
import os
import sys


def hold(folder, what):
    """
    Waits until no other run works in the folder, and says whom for. The file
    that comes back holds the lock until it is closed, or its process ends.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "lock")
    held = open(path, "a+", encoding="utf-8")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.seek(0)
        print(f"waiting: {held.read().strip() or 'another run'} works in {folder}; "
              "a build of its own (make O=build/other) would not have to wait", file=sys.stderr, flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)
    held.truncate(0)
    held.write(f"{what}, process {os.getpid()},\n")
    held.flush()
    return held
