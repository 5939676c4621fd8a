"""The network against the public code's golden files, and its variants against each other."""

import dataclasses
import unittest

import context  # noqa: F401
import torch

import check_golden
import modes
import pid_torch
import synthetic
import synthetic_device
from config import CONFIGS

CASES = ("tiny_v1_flux", "tiny_v1_flux_b2", "tiny_v15_flux", "tiny_v15_flux2", "tiny_v15_flux_wide")
SHALLOW = dataclasses.replace(CONFIGS["tiny"], patch_depth=1, pixel_depth=1)


def decode(config=CONFIGS["tiny"], dtype="float32", attention="default", prepare=lambda network: None, **options):
    """A picture [1, 3, 64, 96] of `config` on the CPU."""
    network = pid_torch.build(config, synthetic.checkpoint(config, 0))
    if dtype == "bf16":
        network.bfloat16()
    prepare(network)
    latent, caption, noise = synthetic.inputs(config, 0, 1, 64, 96, config.txt_max_length)
    with modes.context(torch.device("cpu"), dtype, attention):
        return pid_torch.sample(network, latent, caption, torch.zeros(1), noise, **options)


class Golden(unittest.TestCase):
    def test_tiny_cases_agree_with_the_public_code(self):
        for case in CASES:
            with self.subTest(case=case):
                errors = check_golden.run_case(context.GOLDEN / f"{case}.safetensors")
                self.assertIn("fp32.image", errors)
                self.assertLessEqual(max(errors.values()), check_golden.TOLERANCE)


class Variants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plain = decode()

    def error(self, picture, reference=None):
        return check_golden.relative_l2(picture, self.plain if reference is None else reference)

    def test_hoisting_and_real_rotary_factors_change_nothing(self):
        self.assertLessEqual(self.error(decode(adapter_once=True)), 1e-6)
        self.assertLessEqual(self.error(decode(real_rotary=True)), 1e-5)

    def test_bfloat16_errs_as_much_as_the_public_codes_own(self):
        # Its bfloat16 runs of the tiny golden cases are at 2e-2; a float32 path taken by mistake would be below 1e-4.
        for dtype in ("autocast", "bf16"):
            error = self.error(decode(dtype=dtype))
            self.assertTrue(1e-3 < error < 5e-2, f"{dtype}: {error}")

    def test_attention_kernels(self):
        for kernel in ("flash", "math"):
            self.assertLessEqual(self.error(decode(attention=kernel)), 1e-5, kernel)
        with self.assertRaisesRegex(RuntimeError, "No viable backend"):
            decode(attention="cudnn")

    def test_compiled_is_the_same_picture(self):
        plain = decode(SHALLOW)
        for parts in (lambda n: [n], lambda n: [*n.patch_blocks, *n.pixel_blocks]):
            torch.compiler.reset()

            def prepare(network):
                for part in parts(network):
                    modes.compile_in_place(part, "compile")

            compiled = decode(SHALLOW, prepare=prepare, real_rotary=True)
            self.assertLessEqual(self.error(compiled, plain), 1e-4)
            facts = modes.compiler_facts()
            self.assertGreater(facts["graphs"], 0)
            self.assertEqual(facts["graph_breaks"], 0)


class Weights(unittest.TestCase):
    def test_the_devices_generator_makes_the_same_bits(self):
        ours = synthetic_device.checkpoint(CONFIGS["tiny"], 3, torch.device("cpu"))
        theirs = synthetic.checkpoint(CONFIGS["tiny"], 3)
        self.assertEqual(ours.keys(), theirs.keys())
        for name, tensor in theirs.items():
            self.assertTrue(torch.equal(ours[name], tensor), name)

    def test_a_chunk_continues_where_the_last_ended(self):
        whole = synthetic.fill("w", (100,), 1, 0.5, 0.25)
        chunk, synthetic_device.CHUNK = synthetic_device.CHUNK, 33
        try:
            self.assertTrue(torch.equal(synthetic_device.fill("w", (100,), 1, 0.5, 0.25, "cpu"), whole))
        finally:
            synthetic_device.CHUNK = chunk


if __name__ == "__main__":
    unittest.main()
