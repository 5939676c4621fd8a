"""The ratio tables: one per size, ours first, every other row's time and memory divided by ours.

A result is the object that `pid bench --json` and the peer's programs print: `device`, `peak_bytes`, `seconds.decode`
with `median`, `mad`, `p95`, `min` in seconds; or `error`. `seconds.decode` may be a plain number. What is absent stays
blank, except the median, without which there is no row; memory that was only planned is not compared.
"""


def reading(result):
    """{median, mad, p95, peak_bytes, error} of a result; None where it says nothing."""
    seconds = result.get("seconds")
    decode = seconds.get("decode") if isinstance(seconds, dict) else None
    values = decode if isinstance(decode, dict) else {"median": decode}
    found = {key: number(values.get(key)) for key in ("median", "mad", "p95")}
    found["peak_bytes"] = number(result.get("peak_bytes"))
    found["error"] = result.get("error")
    if found["error"] is None and not found["median"]:
        found["error"] = "no seconds.decode in its output"
    return found


def number(value):
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def milliseconds(seconds):
    return "" if seconds is None else f"{seconds * 1000:.1f}"


def gigabytes(count):
    return "" if count is None else f"{count / 1e9:.2f}"


def ratio(theirs, ours):
    return f"{theirs / ours:.2f}" if theirs and ours else ""


def heading(rows):
    """What was measured on what, from whichever rows know."""
    facts = {}
    for row in rows:
        for key in ("device", "driver", "torch", "cuda", "cudnn", "commit", "config", "seed"):
            if row["result"].get(key) is not None:
                facts.setdefault(key, named(row["result"][key]))
    return ", ".join(v if key == "device" else f"{key} {v}" for key, v in facts.items())


def named(fact):
    """A fact as text; of an object, its name."""
    return str(fact.get("name", fact) if isinstance(fact, dict) else fact)


def line(row, ours):
    found = reading(row["result"])
    if found["error"] is not None:
        text = str(found["error"]).replace("|", "\\|").replace("\n", " ")
        return f"| {row['name']} | | | | | | | {text} |"
    cells = (milliseconds(found["median"]), milliseconds(found["mad"]), milliseconds(found["p95"]),
             ratio(found["median"], ours["median"]), gigabytes(found["peak_bytes"]),
             ratio(found["peak_bytes"], ours["peak_bytes"]))
    return f"| {row['name']} | " + " | ".join(cells) + " | |"


def markdown(rows):
    """The tables of `rows` [{name, size, ours, result}]. A ratio above 1 says that ours is faster, or smaller."""
    text = [f"{heading(rows)}", ""]
    for size in dict.fromkeys(row["size"] for row in rows):
        here = [row for row in rows if row["size"] == size]
        readings = [reading(row["result"]) for row in here if row["ours"]]
        ours = next((r for r in readings if r["error"] is None), {"median": None, "peak_bytes": None})
        text += [f"### {size}", "",
                 "| program | decode, median ms | MAD | p95 | time / ours | peak GB | memory / ours | note |",
                 "|---|---|---|---|---|---|---|---|", *(line(row, ours) for row in here), ""]
    return "\n".join(text)
