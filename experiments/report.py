"""``trg report`` of a clone, installed or not: ``python experiments/report.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("report")
