"""What backing up and restoring costs, beside tools that people know: same run, same data, same machine.

`python -m benchmarks` makes seeded disks, runs restead, restic, borg, cp and dd in turn, each step in a fresh
process, compares every restored disk with its source byte for byte, and prints a table and the ratios.
"""
