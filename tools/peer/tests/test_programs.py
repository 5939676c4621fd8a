"""The programs as processes, on the CPU: their rows, their errors, their budgets; and the numbers of `measure`."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import context
import torch

import isolate
import measure

SUMMARY = {"median", "mad", "p95", "min", "runs"}


def row(program, *options):
    """(exit status, the one JSON object printed) of a program of this folder."""
    done = subprocess.run([sys.executable, str(context.FOLDER / program), "--device", "cpu", *options],
                          capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert len(lines) == 1, (lines, done.stderr)
    return done.returncode, json.loads(lines[0])


def trial(seconds, chosen):
    return {"variant": "v", "seconds": seconds, "tflops": 1.0, "chosen": chosen, "default": not chosen}


def shape(kernel, rows, n, k):
    return {"kernel": kernel, "rows": rows, "n": n, "k": k, "trials": [trial(2.0, False), trial(1.0, True)]}


SHAPES = [
    shape("gemm_linear", 5, 24, 16), shape("gemm_qkv_folded_d64", 5, 192, 16), shape("gemm_qkv_d72", 5, 216, 16),
    shape("gemm_swiglu", 5, 32, 16), shape("gemm_residual", 5, 24, 16), shape("gemm_latent_gate", 5, 24, 16),
    shape("gemm_pixel_modulate", 5, 64, 16), shape("gemm_pixel_update", 5, 64, 16), shape("conv3x3_tokens", 24, 16, 72),
    shape("attention_bounded_d64", 30, 10, 64),
]


class Kernels(unittest.TestCase):
    def tuned(self, shapes):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps({"device": "a GPU", "table": "t.json", "tuned": shapes}) + "\n")
            file.flush()
            return row("time_kernels.py", file.name, *SMALL)

    def test_a_row_for_every_shape(self):
        status, found = self.tuned(SHAPES)
        self.assertEqual(status, 0, found)
        self.assertEqual([s["kernel"] for s in found["shapes"]], [s["kernel"] for s in SHAPES])
        for timed in found["shapes"]:
            self.assertEqual(timed["ours_s"], 1.0, "the chosen variant's")
            same_work = timed["theirs_s"].get("with_epilogue", min(s for s in timed["theirs_s"].values() if s))
            self.assertEqual(timed["ratio"], same_work)
        self.assertGreater(found["geometric_mean"], 0)

    def test_an_unknown_kernel_is_a_row(self):
        status, found = self.tuned([shape("gemm_square", 5, 24, 16)])
        self.assertEqual((status, found["kind"]), (1, "failed"), found)


SMALL = ("--width", "96", "--height", "64", "--warm-up", "1", "--repeat", "2")


class Decode(unittest.TestCase):
    def test_a_row(self):
        status, found = row("time_decode.py", *SMALL, "--hoist", "--dtype", "autocast", "--channels-last")
        self.assertEqual(status, 0, found)
        self.assertEqual(set(found["seconds"]), {"decode", "prepare", "step0", "step1", "step2", "step3", "wall"})
        for phase in found["seconds"].values():
            self.assertEqual(set(phase), SUMMARY)
            self.assertGreaterEqual(phase["p95"], phase["median"])
        self.assertEqual((found["device"], found["dtype"], found["hoist"]), ("cpu", "autocast", True))
        self.assertEqual(found["seconds"]["decode"]["runs"], 2)
        self.assertGreater(found["peak_bytes"], 4 * found["parameters"])
        self.assertEqual(set(found["parts_s"]), {"adapter", "text", "patch_blocks", "pixel_blocks", "other"})
        self.assertGreater(min(found["parts_s"].values()), 0)

    def test_a_checkpoint_of_the_generator_loads(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/w.safetensors"
            subprocess.run([sys.executable, str(context.FOLDER / "synthetic.py"), path], check=True)
            status, found = row("time_decode.py", *SMALL, "--checkpoint", path)
        self.assertEqual((status, found["weights"]), (0, "file"), found)

    def test_a_missing_attention_kernel_is_a_row(self):
        status, found = row("time_decode.py", *SMALL, "--attention", "efficient")
        self.assertEqual((status, found["kind"], found["attention"]), (1, "unavailable", "efficient"), found)

    def test_a_missing_checkpoint_is_a_row(self):
        status, found = row("time_decode.py", *SMALL, "--checkpoint", "/nowhere/w.safetensors")
        self.assertEqual((status, found["kind"]), (1, "failed"), found)

    @unittest.skipIf(torch.cuda.is_available(), "skipped: there is a GPU")
    def test_a_missing_gpu_is_a_row(self):
        status, found = row("time_decode.py", *SMALL, "--device", "cuda")
        self.assertEqual((status, found["kind"], found["dtype"]), (1, "failed", "autocast"), found)

    def test_a_spent_budget_is_a_row_that_names_the_stage(self):
        status, found = row("time_decode.py", *SMALL, "--repeat", "1000000", "--budget-seconds", "15")
        self.assertEqual((status, found["kind"], found["mode"]), (1, "budget", "eager"), found)
        self.assertIn(found["stage"], ("weights", "warm-up", "runs"))


class Vae(unittest.TestCase):
    def test_untiled_and_tiled_rows(self):
        for options in ([], ["--tiled", "--channels-last"]):
            status, found = row("vae_decode.py", *SMALL, *options)
            self.assertEqual(status, 0, found)
            self.assertEqual(set(found["seconds"]["decode"]), SUMMARY)
            self.assertEqual((found["dtype"], found["tiled"]), ("bf16", bool(options)))


class Isolation(unittest.TestCase):
    def child(self, code, budget_s=30):
        return isolate.run([sys.executable, "-c", code], budget_s)

    def test_a_child_that_dies_is_a_row_with_its_last_words(self):
        found = self.child("import sys; print('{\"stage\": \"weights\"}'); sys.exit('killed it')")
        self.assertEqual(found["error"], "exit status 1 in stage weights: killed it")
        self.assertEqual((found["kind"], found["stage"]), ("crash", "weights"))

    def test_a_cut_child_leaves_no_process_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            shell = f"touch {folder}/began; sleep 4; touch {folder}/outlived"
            found = self.child(f"import subprocess; subprocess.run(['sh', '-c', {shell!r}])", budget_s=2)
            self.assertEqual(found["kind"], "budget")
            time.sleep(4)
            self.assertEqual(os.listdir(folder), ["began"])

    def test_a_terminated_parent_takes_its_child_along(self):
        with tempfile.TemporaryDirectory() as folder:
            shell = f"touch {folder}/began; sleep 4; touch {folder}/outlived"
            code = f"import isolate; isolate.run(['sh', '-c', {shell!r}], 60)"
            parent = subprocess.Popen([sys.executable, "-c", code], cwd=context.FOLDER)
            while not os.listdir(folder):
                self.assertIsNone(parent.poll(), "the parent ended early")
                time.sleep(0.05)
            parent.terminate()
            self.assertEqual(parent.wait(10), 128 + 15)
            time.sleep(4)
            self.assertEqual(os.listdir(folder), ["began"])

    def test_a_program_that_is_not_there(self):
        self.assertIn("No such file", isolate.run(["/nowhere/program"], 1)["error"])

    def test_objects_over_several_lines_and_among_noise(self):
        self.assertEqual(isolate.objects('{\n "a": 1\n}\n'), [{"a": 1}])
        self.assertEqual(isolate.objects('noise\n{"a": 1}\n[2]\n{"b"'), [{"a": 1}])

    def test_out_of_memory_is_told_from_other_errors(self):
        def raising(error):
            def work(_):
                raise error
            return work

        for error, kind in ((torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "out-of-memory"),
                            (ValueError("x"), "failed")):
            found = {}
            isolate.guarded(raising(error), found)
            self.assertEqual(found["kind"], kind)


class Numbers(unittest.TestCase):
    def test_summary(self):
        found = measure.summary([5.0, 1.0, 2.0, 4.0, 3.0])
        self.assertEqual({**found, "p95": round(found["p95"], 9)},
                         {"median": 3.0, "mad": 1.0, "p95": 4.8, "min": 1.0, "runs": 5})
        self.assertEqual(measure.summary([2.0]), {"median": 2.0, "mad": 0.0, "p95": 2.0, "min": 2.0, "runs": 1})

    def test_clock_splits_the_whole(self):
        clock = measure.Clock(torch.device("cpu"))
        clock.start()
        time.sleep(0.02)
        clock.mark()
        parts, total, wall = clock.stop()
        self.assertEqual(len(parts), 2)
        self.assertGreaterEqual(parts[0], 0.02)
        self.assertAlmostEqual(sum(parts), total)
        self.assertGreaterEqual(wall, total)


if __name__ == "__main__":
    unittest.main()
