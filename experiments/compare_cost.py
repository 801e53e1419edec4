"""``trg compare-cost`` of a clone, installed or not: ``python experiments/compare_cost.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("compare-cost")
