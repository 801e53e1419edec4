"""``trg sweep`` of a clone, installed or not: ``python experiments/sweep.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("sweep")
