"""kdzoo under ill use: killed and preempted runs, damaged files, nonsense configs, from a seed.

    python -m benchmarks.campaign                               # all, in its long form
    python -m benchmarks.campaign kills=20 fuzz=500 --seed 1    # some parts, shorter
    python -m benchmarks.campaign damages --only 17             # repeat and show one case

Every case is drawn from the seed and its own number alone. Each part prints how many cases ended in
which way and, for each distinct fault, the line that repeats it; the exit code is 1 when there is a
fault. What is promised: docs/reliability.md.
"""
