"""An algorithm for a computation: fits y = intercept + slope * x by least
squares over the rows of all tables that the data providers brought.

It is an ordinary script of the standard library: it reads datasets/, writes
results/, both in its working directory, and tells what it does on stdout,
which arrives at the one who ordered the computation as debug log.

    linreg.py [x column [y column]]

A row where either column is NA or empty is counted and skipped.
"""

import csv
import json
import math
import pathlib
import sys


def read_table(path, x_name, y_name):
    """The (x, y) of each whole row, and how many rows were not whole."""
    points, skipped = [], 0
    with path.open(newline="", encoding="utf-8") as table:
        rows = csv.DictReader(table)
        for name in (x_name, y_name):
            if name not in (rows.fieldnames or []):
                sys.exit(f"linreg: {path}: no column '{name}' in its header")
        for row in rows:
            if row[x_name] in ("", "NA", None) or row[y_name] in ("", "NA", None):
                skipped += 1
                continue
            point = (float(row[x_name]), float(row[y_name]))
            if not all(map(math.isfinite, point)):
                sys.exit(f"linreg: {path}: line {rows.line_num}: not a number")
            points.append(point)
    return points, skipped


def fit(points):
    """Intercept, slope and r squared."""
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    sxx = math.fsum((x - mean_x) ** 2 for x, _ in points)
    sxy = math.fsum((x - mean_x) * (y - mean_y) for x, y in points)
    syy = math.fsum((y - mean_y) ** 2 for _, y in points)
    if sxx <= 0:
        sys.exit("linreg: all x are the same, so there is no slope")
    slope = sxy / sxx
    return mean_y - slope * mean_x, slope, sxy * sxy / (sxx * syy) if syy > 0 else 1.0


def main():
    x_name = sys.argv[1] if len(sys.argv) > 1 else "flipper_length_mm"
    y_name = sys.argv[2] if len(sys.argv) > 2 else "body_mass_g"
    points, skipped = [], 0

    for path in sorted(pathlib.Path("datasets").glob("*.csv")):
        more, missing = read_table(path, x_name, y_name)
        print(f"{path}: {len(more)} rows", flush=True)
        points += more
        skipped += missing
    if len(points) < 2:
        sys.exit("linreg: datasets: fewer than two rows with both values")
    intercept, slope, r_squared = fit(points)
    pathlib.Path("results").mkdir(exist_ok=True)
    model = {
        "x": x_name,
        "y": y_name,
        "rows": len(points),
        "skipped": skipped,
        "intercept": round(intercept, 6),
        "slope": round(slope, 6),
        "r_squared": round(r_squared, 6),
    }
    pathlib.Path("results/model.json").write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    print(f"{y_name} = {intercept:.4f} + {slope:.4f} * {x_name}", flush=True)


if __name__ == "__main__":
    main()
