"""The tables of docs/results.md, made again from the JSON of `streamsv evaluate`.

    python docs/tables.py error docs/results/*.json
    python docs/tables.py calibration docs/results/*.json

The tables are error, calibration, cost, decisions and sex; all files must have the same points.
``python docs/tables.py left-out MODEL.calibration.json`` makes those that a calibration holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from streamsv.evaluation.tables import (
    TABLES,
    each_set,
    patience_table,
    unseen_calls_table,
    unseen_evidence_table,
)

LEFT_OUT = "left-out"


def main(arguments: list[str]) -> int:
    """Print one table as Markdown; 2 for arguments that are none."""
    name, *files = arguments or [""]
    if name not in (*TABLES, LEFT_OUT) or not files:
        names = ",".join((*TABLES, LEFT_OUT))
        sys.stderr.write(f"usage: python docs/tables.py {{{names}}} FILE.json...\n")
        return 2
    if name == LEFT_OUT:
        for file in files:
            fitted_on = json.loads(Path(file).read_text(encoding="utf-8"))["fitted_on"]
            made = []
            if "left_out" in fitted_on:
                made.append(unseen_evidence_table(fitted_on["left_out"]))
                made.append(unseen_calls_table(fitted_on["left_out"]))
            if "long_calls" in fitted_on:
                made.append(patience_table(fitted_on["long_calls"]))
            sys.stdout.write("\n".join(table.markdown() for table in made))
        return 0
    reports = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    sys.stdout.write(
        TABLES[name]([one for report in reports for one in each_set(report)]).markdown()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
