"""``trg run`` of a clone, installed or not: ``python experiments/run.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("run")
