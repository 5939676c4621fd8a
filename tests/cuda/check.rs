//! `pid check` on a GPU: times by its clock, over ceilings measured in the same run.

use pid_engine::check::{self, Options};
use pid_engine::exec::NoObserver;

use crate::GPU;
use crate::driver::{Fake, Machine};

#[test]
fn rows_have_times_over_their_floors() {
    let Some(_fake) = Fake::new(Machine::default()) else { return };
    let filter = Some("v1.5-loud/gemm_linear".to_owned());
    let options = Options { device: GPU, filter, ceiling_bytes: Some(1 << 19), ..Options::default() };
    let outcome = check::run(&options, &mut NoObserver).unwrap();
    assert_eq!(outcome.complaints(), [""; 0]);
    assert_eq!((outcome.device.as_str(), outcome.device_kind()), ("Fake GPU 0 (cuda:0)", "Fake GPU 0"));
    let ceilings = outcome.ceilings.unwrap();
    assert!(ceilings.copy_bytes_per_second > 0.0 && ceilings.product_flop_per_second > 0.0, "{ceilings:?}");
    let [row] = &outcome.rows[..] else { panic!("{:?}", outcome.rows) };
    assert!(row.seconds.unwrap() > 0.0 && row.ratio.unwrap() > 0.0, "{row:?}");

    let fault = Some("gemm_linear_no_store_guard".to_owned());
    let error = check::run(&Options { fault, ..options }, &mut NoObserver).unwrap_err().to_string();
    assert!(error.contains("emulator alone") && error.contains("Fake GPU 0"), "{error}");
}
