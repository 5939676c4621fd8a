"""Measures pid-engine, the PyTorch peer and a VAE decoder in turn on this machine, and prints the ratio tables.

    python tools/compare --pid target/release/pid --out compare
    python tools/compare --pid pid --out compare --sizes 2048x2048 --total-seconds 570 --resume

Every run is a process of its own with a budget; a failure is a row. OUT gets compare.json, rewritten after every run,
compare.md, and run.json for the run archive. With --resume the runs that compare.json already has are kept, except those that ran out of time, failed
or crashed, so that a machine lent for minutes at a time is enough; a new build of ours wants a new OUT. Exit status 0
when every row was measured, out of memory or without its attention kernel; 1 when a run failed, was cut or is missing;
2 on wrong usage.
"""

import argparse
import json
import pathlib
import shlex
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peer")]

import archive  # noqa: E402
import isolate  # noqa: E402
import runs  # noqa: E402
import table  # noqa: E402

SETTLED = ("out-of-memory", "unavailable")  # errors that are a finding
LEAST_SECONDS = 20  # a run is not begun with less time left


def parse(argv):
    parser = argparse.ArgumentParser(prog="compare", description="Ours against PyTorch; prints markdown.")
    parser.add_argument("--pid", default="pid", help="the pid command")
    parser.add_argument("--pid-args", default="", help="more arguments for `pid bench`")
    parser.add_argument("--peer-args", default="", help="more arguments for the Python programs")
    parser.add_argument("--device", default="cuda", help="cuda or cpu, for all of them")
    parser.add_argument("--config", default="flux-v1.5")
    parser.add_argument("--checkpoint", help="safetensors file for ours and the peer; default synthetic weights")
    parser.add_argument("--sizes", nargs="+", default=["2048x2048", "4096x4096"], metavar="WxH")
    parser.add_argument("--filter", default="", help="only runs whose name holds this text")
    parser.add_argument("--budget-seconds", type=float, default=240, help="per run")
    parser.add_argument("--total-seconds", type=float, default=float("inf"), help="for all runs")
    parser.add_argument("--resume", action="store_true", help="keep what OUT/compare.json has")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("compare"))
    args = parser.parse_args(argv)
    args.sizes = [runs.size(text) or parser.error(f"--sizes {text}: expected WxH, each a multiple of 32")
                  for text in args.sizes]
    args.pid_args, args.peer_args = shlex.split(args.pid_args), shlex.split(args.peer_args)
    return args


def earlier(path):
    """{command: result} of the settled runs of an earlier compare.json."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text())["rows"]
    return {tuple(row["command"]): row["result"] for row in rows if settled(row["result"])}


def settled(result):
    return "error" not in result or result.get("kind") in SETTLED


def measure(run, budget_s):
    """The run's JSON object, or a row with `error`."""
    if budget_s < LEAST_SECONDS:
        return {"error": "not run: no time left", "kind": "budget"}
    return isolate.run(run["command"], budget_s)


def main(argv):
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "compare.json"
    kept = earlier(path) if args.resume else {}
    end = time.monotonic() + args.total_seconds
    rows = []
    for run in runs.plan(args, sys.executable, HERE.parent / "peer"):
        result = kept.get(tuple(run["command"]))
        if result is None:
            print(f"{run['size']} {run['name']}", file=sys.stderr, flush=True)
            result = measure(run, min(args.budget_seconds, end - time.monotonic()))
        rows.append({**run, "result": result})
        path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    text = table.markdown(rows)
    (args.out / "compare.md").write_text(text)
    archived = archive.run(rows, time.strftime("%Y-%m-%d"))
    if archived:
        (args.out / "run.json").write_text(json.dumps(archived, indent=2) + "\n")
    print(text, end="")
    return 0 if rows and all(settled(row["result"]) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
