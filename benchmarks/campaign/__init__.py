"""kdzoo under ill use: killed runs, damaged files and nonsense configs, drawn from a seed.

    python -m benchmarks.campaign kills --count 200
    python -m benchmarks.campaign damages --count 1000
    python -m benchmarks.campaign fuzz --count 10000

Every case is drawn from the seed and its own number alone, so ``--only NUMBER`` repeats it. Each
part prints how many cases ended in which way and, for each distinct fault, the line that repeats
it; it exits 1 when there is a fault. What is promised: docs/reliability.md.
"""
