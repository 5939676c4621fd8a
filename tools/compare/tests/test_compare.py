"""The plan of runs, the reader and the tables on sample results, and whole runs with stand-ins for `pid`."""

import contextlib
import importlib.util
import io
import json
import pathlib
import stat
import sys
import tempfile
import unittest

FOLDER = pathlib.Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("compare_main", FOLDER / "__main__.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)

import archive  # noqa: E402
import runs  # noqa: E402
import table  # noqa: E402

OURS = {"device": "Some GPU", "peak_bytes": 3_000_000_000, "planned_bytes": 2_900_000_000,
        "seconds": {"load": {"median": 1.0}, "decode": {"median": 0.25, "mad": 0.001, "p95": 0.26, "min": 0.24, "runs": 5}}}
THEIRS = {"device": "Some GPU", "torch": "2.11.0", "peak_bytes": 12_000_000_000,
          "seconds": {"decode": {"median": 0.5, "mad": 0.002, "p95": 0.51, "min": 0.49, "runs": 5}}}


def row(name, result, ours=False, size="2048x2048"):
    return {"name": name, "size": size, "ours": ours, "result": result}


class Archive(unittest.TestCase):
    def test_every_row_is_kept_and_the_fastest_are_headlines(self):
        slow = {**THEIRS, "seconds": {"decode": {"median": 0.9}}}
        rows = [row("pid-engine", {**OURS, "config": "flux-v1.5", "commit": "abc", "num_steps": 4}, True),
                row("PyTorch eager", slow), row("PyTorch compile", THEIRS), row("VAE, same picture, untiled", {"error": "no\nroom"})]
        run = archive.run(rows, "2026-01-02")
        self.assertEqual((run["date"], run["device"], run["commit"]), ("2026-01-02", "Some GPU", "abc"))
        self.assertEqual([entry.get("headline", False) for entry in run["rows"]], [False, True, False])
        self.assertEqual(run["rows"][0]["what"], "flux-v1.5, 2048x2048, 4 steps")
        self.assertEqual(run["rows"][1]["ours"], {"seconds": 0.25, "peak_bytes": 3_000_000_000})
        self.assertEqual(run["rows"][2]["other"], {"name": "VAE, same picture, untiled", "numbers": {"note": "no"}})

    def test_without_ours_there_is_nothing_to_archive(self):
        self.assertIsNone(archive.run([row("pid-engine", {"error": "no driver"}, True), row("eager", THEIRS)], "2026-01-02"))


class Table(unittest.TestCase):
    def test_ratios_are_theirs_over_ours(self):
        text = table.markdown([row("pid-engine", OURS, True), row("eager", THEIRS)])
        self.assertIn("| pid-engine | 250.0 | 1.0 | 260.0 | 1.00 | 3.00 | 1.00 | |", text)
        self.assertIn("| eager | 500.0 | 2.0 | 510.0 | 2.00 | 12.00 | 4.00 | |", text)
        self.assertTrue(text.startswith("Some GPU, torch 2.11.0\n"), text)

    def test_an_error_is_a_row_and_cannot_break_the_table(self):
        text = table.markdown([row("pid-engine", OURS, True), row("vae", {"error": "no memory | at\nall"})])
        self.assertIn("| vae | | | | | | | no memory \\| at all |", text)

    def test_without_ours_times_stay_and_ratios_are_blank(self):
        text = table.markdown([row("pid-engine", {"error": "no driver"}, True), row("eager", THEIRS)])
        self.assertIn("| eager | 500.0 | 2.0 | 510.0 |  | 12.00 |  | |", text)

    def test_sizes_are_compared_with_their_own_ours(self):
        slow = {**OURS, "seconds": {"decode": 1.0}}
        text = table.markdown([row("pid-engine", OURS, True), row("pid-engine", slow, True, "4096x4096"),
                               row("eager", THEIRS, size="4096x4096")])
        self.assertIn("| eager | 500.0 | 2.0 | 510.0 | 0.50 |", text)

    def test_facts_may_be_objects_and_memory_may_be_unmeasured(self):
        result = {**OURS, "device": {"name": "Some GPU", "sms": 132}, "peak_bytes": None}
        text = table.markdown([row("pid-engine", result, True), row("eager", THEIRS)])
        self.assertTrue(text.startswith("Some GPU, torch 2.11.0\n"), text)
        self.assertIn("| pid-engine | 250.0 | 1.0 | 260.0 | 1.00 |  |  | |", text)
        self.assertIn("| eager | 500.0 | 2.0 | 510.0 | 2.00 | 12.00 |  | |", text)

    def test_output_without_a_time_is_an_error(self):
        for result in ({}, {"seconds": {}}, {"seconds": {"decode": {}}}, {"seconds": 3}, {"seconds": {"decode": "1"}}):
            self.assertIsNotNone(table.reading(result)["error"], result)


class Plan(unittest.TestCase):
    def test_every_size_has_ours_first_and_the_vae_both_ways(self):
        args = compare.parse(["--sizes", "2048x2048", "2688x1536"])
        found = runs.plan(args, "python", pathlib.Path("peer"))
        self.assertEqual([r["size"] for r in found if r["ours"]], ["2048x2048", "2688x1536"])
        for size in ("2048x2048", "2688x1536"):
            self.assertTrue(next(r for r in found if r["size"] == size)["ours"])
        first_slow = next(k for k, r in enumerate(found) if "max-autotune" in r["command"])
        self.assertTrue(all("max-autotune" in r["command"] for r in found[first_slow:]))
        same_latent = [r["command"] for r in found if "same latent (672x384 picture)" in r["name"]]
        self.assertEqual(len(same_latent), 2)
        self.assertEqual(same_latent[0][-4:], ["--width", "672", "--height", "384"])

    def test_commands_are_distinct_so_that_resuming_cannot_mix_them_up(self):
        found = runs.plan(compare.parse([]), "python", pathlib.Path("peer"))
        self.assertEqual(len({tuple(r["command"]) for r in found}), len(found))

    def test_bad_sizes_are_wrong_usage(self):
        for text in ("2048", "2048x", "0x32", "100x64"):
            with self.assertRaises(SystemExit) as stop, contextlib.redirect_stderr(io.StringIO()):
                compare.parse(["--sizes", text])
            self.assertEqual(stop.exception.code, 2)


class Whole(unittest.TestCase):
    """`main` with a shell script for `pid` and the VAE programs filtered to none."""

    def run_main(self, folder, script, *more):
        pid = pathlib.Path(folder, "pid")
        pid.write_text(f"#!/bin/sh\n{script}\n")
        pid.chmod(pid.stat().st_mode | stat.S_IXUSR)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            status = compare.main(["--pid", str(pid), "--out", folder, "--sizes", "2048x2048", "--filter", "none", *more])
        rows = json.loads(pathlib.Path(folder, "compare.json").read_text())["rows"]
        return status, rows[0]["result"], printed.getvalue()

    def test_a_measured_run(self):
        with tempfile.TemporaryDirectory() as folder:
            status, result, text = self.run_main(folder, f"echo '{json.dumps(OURS)}'")
            self.assertEqual((status, result), (0, OURS))
            self.assertIn("| pid-engine | 250.0 |", text)
            self.assertEqual(pathlib.Path(folder, "compare.md").read_text(), text)

    def test_failures_become_rows(self):
        cases = {"echo '{\"error\": \"no driver\"}'; exit 1": "no driver",
                 "echo broken >&2; exit 3": "exit status 3 in stage start: broken"}
        for script, error in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                status, result, text = self.run_main(folder, script)
                self.assertEqual((status, result["error"]), (1, error))
                self.assertIn(error, text)

    def test_no_time_left_is_a_row_that_resuming_measures(self):
        with tempfile.TemporaryDirectory() as folder:
            script = f"echo ran >> {folder}/count; echo '{json.dumps(OURS)}'"
            status, result, _ = self.run_main(folder, script, "--total-seconds", "1")
            self.assertEqual((status, result["kind"]), (1, "budget"))
            for _ in range(2):
                status, result, _ = self.run_main(folder, script, "--resume")
                self.assertEqual((status, result), (0, OURS))
            self.assertEqual(pathlib.Path(folder, "count").read_text(), "ran\n")


if __name__ == "__main__":
    unittest.main()
