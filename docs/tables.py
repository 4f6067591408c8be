"""The tables of docs/results.md, made again from the JSON of `streamsv evaluate`.

    python docs/tables.py error docs/results/*.json
    python docs/tables.py calibration docs/results/*.json

The tables are error, calibration, cost and decisions; all files must have the same points.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from streamsv.evaluation.tables import TABLES, each_set


def main(arguments: list[str]) -> int:
    """Print one table as Markdown; 2 for arguments that are none."""
    name, *files = arguments or [""]
    if name not in TABLES or not files:
        sys.stderr.write(f"usage: python docs/tables.py {{{','.join(TABLES)}}} RESULT.json...\n")
        return 2
    reports = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    sys.stdout.write(
        TABLES[name]([one for report in reports for one in each_set(report)]).markdown()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
