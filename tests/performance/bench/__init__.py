"""The benchmarks, one file each; `run(plan)` answers the object that is printed and kept."""
