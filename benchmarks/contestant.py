"""Build one contestant, and request it as often as each line of the input says.

Prints the seconds that it took. Everyone gets a process of their own, because Python
specialises its bytecode for the classes that it meets.
"""

from __future__ import annotations

import gc
import sys
import time

from contestants import CONTESTS
from contestants import environ_of
from contestants import serve

WARM_UP = 50

if __name__ == "__main__":
    contest = CONTESTS[sys.argv[1]]
    app, environ = contest.contestants[sys.argv[2]](), environ_of(contest)
    assert serve(app, environ, WARM_UP)[:3] == contest.status
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        start = time.perf_counter()
        serve(app, environ, int(line))
        print(time.perf_counter() - start, flush=True)
