"""Runs a measuring program as a child process with a time budget, so that whatever happens to it becomes a row.

The child prints JSON objects, one a line: `{"stage": NAME}` as it goes along, and last its row. A row that has `error`
also has `kind`: `out-of-memory`, `unavailable` (no such attention kernel), `failed` (an exception), `budget` (cut) or
`crash` (it ended without a row). Needs no torch.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

UNAVAILABLE = ("No available kernel", "No viable backend")


def stage(name):
    """Called in the child: says what it is about to do."""
    print(json.dumps({"stage": name}), flush=True)


def guarded(work, row):
    """Called in the child: fills `row` by `work(row)`, or with the error that `work` raised, and prints it."""
    try:
        work(row)
    except Exception as error:
        text = str(error)
        kind = "failed"
        if type(error).__name__ == "OutOfMemoryError" or "out of memory" in text:
            kind = "out-of-memory"
        elif any(sign in text for sign in UNAVAILABLE):
            kind = "unavailable"
        row.update(error=f"{type(error).__name__}: {first_line(text)}", kind=kind)
    print(json.dumps(row), flush=True)
    return 1 if "error" in row else 0


def program(file, argv, args, row, work):
    """A measuring program, whole: runs `file` again with `--inside` as its child, which fills `row` by `work(args, row)`,
    and prints what became of it. Returns the exit status."""
    if args.inside:
        return guarded(lambda row: work(args, row), row)
    row.update(run([sys.executable, file, *argv, "--inside"], args.budget_seconds))
    return guarded(lambda _: None, row)


def first_line(text):
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


def run(command, budget_s):
    """Runs `command` for at most `budget_s` seconds and returns its row, or one with `error`, `kind` and `stage`. From
    the main thread: being terminated ends the child too, which would else keep the device busy."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryFile("w+") as stderr:
        try:
            # A session of its own: the compiler's worker processes end with it when the budget is spent.
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)
        except OSError as error:
            return {"error": f"{command[0]}: {error.strerror}", "kind": "failed"}
        cut = False
        try:
            out, _ = child.communicate(timeout=budget_s)
        except subprocess.TimeoutExpired:
            cut = True
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        stderr.seek(0)
        last_words = [line.strip() for line in stderr.read().splitlines() if line.strip()][-1:]
    return outcome(objects(out), cut, budget_s, child.returncode, last_words)


def outcome(lines, cut, budget_s, status, last_words):
    stages = [line["stage"] for line in lines if set(line) == {"stage"}]
    rows = [line for line in lines if set(line) != {"stage"}]
    if rows:
        return rows[-1]
    reached = stages[-1] if stages else "start"
    if cut:
        return {"error": f"cut after {budget_s:g} s, in stage {reached}", "kind": "budget", "stage": reached}
    said = f": {last_words[0]}" if last_words else ""
    return {"error": f"exit status {status} in stage {reached}{said}", "kind": "crash", "stage": reached}


def objects(text):
    """The JSON objects of `text`: the whole of it if that is one object, else every line that is one."""
    found = []
    for piece in [text] if text.lstrip().startswith("{\n") else text.splitlines():
        try:
            value = json.loads(piece)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
