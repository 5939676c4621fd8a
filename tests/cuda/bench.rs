//! `bench` on a GPU: what is replayed is timed as a whole, launches one by one, and nothing is left behind.

use pid_engine::bench::{self, BenchOptions};
use pid_engine::exec::NoObserver;

use crate::driver::{Fake, Machine};
use crate::{GPU, decoder};

const OPTIONS: BenchOptions =
    BenchOptions { width: 32, height: 64, batch: 1, text_tokens: 24, steps: 1, seed: 0, warm_up: 1, runs: 1 };

#[test]
fn a_gpu_is_measured() {
    let Some(fake) = Fake::new(Machine::default()) else { return };
    let decoder = decoder(GPU).unwrap();
    // The first report needs the weights; its ceilings would keep the emulator busy for hours.
    let request = pid_engine::Request { steps: 1, ..crate::inputs().1 };
    decoder.decode(&crate::latent(2, 1, 0), &request).unwrap();
    fake.set_total_bytes(fake.live().bytes + (2 << 20));

    let replays = fake.calls("cuGraphLaunch");
    let report = bench::run(&decoder, &OPTIONS, 0.0, &mut NoObserver).unwrap();
    assert_eq!(fake.calls("cuGraphLaunch") - replays, 3, "the first decode, one to warm up, one timed");
    let seconds = report.seconds.as_ref().unwrap();
    let device = seconds.device.as_ref().unwrap();
    assert_eq!((device.runs.len(), seconds.decode.runs.len()), (1, 1));
    for (device, whole) in device.runs.iter().zip(&seconds.decode.runs) {
        assert!(*device > 0.0 && device <= whole, "{device} of {whole}");
    }
    // Phases are sums of launches.
    let phases = seconds.prepare.median + seconds.steps.iter().map(|s| s.median).sum::<f64>();
    assert!((phases / seconds.profiled - 1.0).abs() < 1e-9, "{phases} and {}", seconds.profiled);
    let launches: usize = report.launches.iter().map(|l| l.seconds.as_ref().unwrap().len()).sum();
    assert_eq!(launches, report.ops.iter().map(|o| o.launches).sum::<usize>());
    let ceilings = report.ceilings.as_ref().unwrap();
    assert_eq!(ceilings.product_shape, [256; 3], "as large as what is free allows");
    assert_eq!(ceilings.exp_per_second, Some(16.0 * 2.0 * 1e9));
    assert_eq!(report.telemetry.as_ref().unwrap().before.cuda_version.as_deref(), Some("13.0"));
    assert!(report.notes.iter().any(|n| n.contains("one replay")), "{:?}", report.notes);
    assert!(report.text().contains("decode, device"));
    drop(decoder);
}
