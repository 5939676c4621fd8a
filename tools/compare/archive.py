"""`run.json` of a run archive (benches/runs/<date>-<device>), as tests/host_runs.rs reads it: ours against every other row.

Losing rows stay, and rows without a number keep the reason. The fastest PyTorch row and the fastest VAE row of each size
are headlines: the project's README shows them.
"""

import table


def numbers(found):
    """The numbers of a reading of `table.reading`, or why there are none."""
    if found["error"] is not None:
        return {"note": str(found["error"]).splitlines()[0]}
    known = {"seconds": found["median"], "peak_bytes": found["peak_bytes"]}
    return {key: value for key, value in known.items() if value is not None}


def run(rows, date):
    """The object of run.json for `rows` [{name, size, ours, result}]; None where ours has no number."""
    ours = {row["size"]: row["result"] for row in rows if row["ours"]}
    measured = {size: table.reading(result) for size, result in ours.items()}
    if not any(found["error"] is None for found in measured.values()):
        return None
    first = next(iter(ours.values()))
    made = [entry(row, ours[row["size"]], measured[row["size"]]) for row in rows if not row["ours"]]
    for size in ours:
        for kind in ("PyTorch", "VAE, same picture"):
            timed = [e for e, row in zip(made, (r for r in rows if not r["ours"]))
                     if row["size"] == size and row["name"].startswith(kind) and "seconds" in e["other"]["numbers"]]
            if timed:
                min(timed, key=lambda e: e["other"]["numbers"]["seconds"])["headline"] = True
    return {"date": date, "device": table.named(first.get("device", "unknown")),
            "commit": str(first.get("commit", "unknown")), "rows": made}


def entry(row, result, found):
    """One row of run.json."""
    config, steps = result.get("config", "unknown network"), result.get("num_steps", 4)
    return {"what": f"{config}, {row['size']}, {steps} steps", "ours": numbers(found),
            "other": {"name": row["name"], "numbers": numbers(table.reading(row["result"]))}}
