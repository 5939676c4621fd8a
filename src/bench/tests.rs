use super::*;

fn seconds(runs: Vec<f64>) -> Seconds {
    let one = Summary::of(vec![1.0]).unwrap();
    Seconds {
        load: 0.0,
        plan: 0.0,
        upload: None,
        first: 9.0,
        prepare: one.clone(),
        steps: vec![one.clone()],
        image: one,
        decode: Summary::of(runs).unwrap(),
        device: None,
        profiled: 1.0,
    }
}

#[test]
fn steady_runs_raise_no_doubts() {
    assert_eq!(doubts(&seconds(vec![1.0, 1.01, 0.99, 1.02]), None), [""; 0]);
    // The first decode of all is known to be slow.
    let quiet = Around { before: Telemetry::default(), after: Telemetry::default() };
    assert_eq!(doubts(&seconds(vec![1.0, 1.01]), Some(&quiet)), [""; 0]);
}

#[test]
fn slow_starts_and_outliers_are_told() {
    let slow = doubts(&seconds(vec![1.3, 1.0, 1.0, 1.01, 0.99]), None).join("\n");
    assert!(slow.contains("1.3000 s, 30% above") && slow.contains("--warmup"), "{slow}");
    let mut runs: Vec<f64> = (0..50).map(|i| 1.0 + 0.001 * f64::from(i % 5)).collect();
    runs[30] = 2.0;
    let outlier = doubts(&seconds(runs), None).join("\n");
    assert!(outlier.contains("1 of 50 runs"), "{outlier}");
}

#[test]
fn a_shared_or_throttled_gpu_is_told() {
    let before =
        Telemetry { others: 2, others_bytes: Some(3_000_000_000), utilization: Some(60), ..Telemetry::default() };
    let after = Telemetry {
        throttling: vec!["power limit".into()],
        sm_mhz: Some(1200),
        max_sm_mhz: Some(1980),
        ..Telemetry::default()
    };
    let told = doubts(&seconds(vec![1.0]), Some(&Around { before, after })).join("\n");
    for expected in ["2 other processes", "3.00 GB", "busy 60%", "power limit", "1200 MHz of at most 1980"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

/// A floor is the slowest of the three ways to be bound.
#[test]
fn floors_follow_the_ceilings() {
    let ceilings = |exp| Ceilings {
        copy_bytes_per_second: 100.0,
        product_flop_per_second: 1000.0,
        product_shape: [1; 3],
        exp_per_second: exp,
    };
    let work = Work { flop: 2000, exp: 90, bytes: 100 };
    assert_eq!(ceilings(None).floor(work), 2.0);
    assert_eq!(ceilings(Some(30.0)).floor(work), 3.0);
    assert_eq!(ceilings(None).floor(Work { bytes: 500, ..work }), 5.0);
}

/// Launches of a known plan with made-up times: sums, shares and floors add up.
#[test]
fn rows_add_up() {
    let options =
        BenchOptions { width: 64, height: 64, batch: 1, text_tokens: 24, steps: 3, seed: 0, warm_up: 0, runs: 1 };
    let program = pid::program(&Config::tiny(), &options.network(Policy::BF16), None).unwrap();
    let empty = rows::launches(&program, 3, None, None);
    let times: Vec<Vec<f64>> = empty.iter().map(|l| vec![0.5 + l.index as f64; l.launches]).collect();
    let ceilings = Ceilings {
        copy_bytes_per_second: 1e9,
        product_flop_per_second: 1e12,
        product_shape: [1; 3],
        exp_per_second: None,
    };
    let launches = rows::launches(&program, 3, Some(&times), Some(&ceilings));
    let ops = rows::ops(&launches);
    let total: f64 = times.iter().flatten().sum();
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    assert!(close(ops.iter().filter_map(|o| o.seconds).sum(), total));
    assert!(close(ops.iter().filter_map(|o| o.share).sum(), 1.0));
    let floors: f64 = launches.iter().map(|l| l.launches as f64 * ceilings.floor(l.work)).sum();
    assert!(close(ops.iter().filter_map(|o| o.rates.floor_seconds).sum(), floors));
    assert_eq!(ops.iter().map(|o| o.launches).sum::<usize>(), times.iter().flatten().count());
    let noise = ops.iter().find(|o| o.op == "noise").unwrap();
    assert_eq!(noise.launches, 3, "before the loop, and after every step but the last");
    let mut fast = ops[..1].to_vec();
    fast[0].rates.floor_percent = Some(104.0);
    assert_eq!(rows::doubt(&fast), None);
    fast[0].rates.floor_percent = Some(130.0);
    let doubt = rows::doubt(&fast).unwrap();
    assert!(doubt.contains(fast[0].op) && doubt.contains("130%"), "{doubt}");
    assert!(ops.windows(2).all(|w| w[0].seconds >= w[1].seconds), "the longest first");
}
