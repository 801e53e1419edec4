"""``trg runs`` of a clone, installed or not: ``python experiments/runs.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("runs")
