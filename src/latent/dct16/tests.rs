use super::*;

fn picture(height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f32) -> Picture {
    let pixels = (0..3 * height * width).map(|i| (i / (height * width), i / width % height, i % width));
    Picture { data: pixels.map(|(c, y, x)| value(c, y, x)).collect(), batch: 1, height, width }
}

/// Values in [-1, 1] without a pattern.
fn rough(c: usize, y: usize, x: usize) -> f32 {
    let n = (c * 7919 + y * 104_729 + x * 1_299_709) as u32;
    let mixed = (n ^ n >> 7).wrapping_mul(2_654_435_761);
    (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
}

fn unit() -> Statistics {
    Statistics { mean: [0.0; CHANNELS], std: [1.0; CHANNELS] }
}

/// The coefficient by the definition, in float64, from the picture itself.
fn naive(picture: &Picture, component: usize, (u, v): (usize, usize), (row, column): (usize, usize)) -> f64 {
    let pixel = |c: usize, y: usize, x: usize| f64::from(picture.data[(c * picture.height + y) * picture.width + x]);
    let small =
        |c: usize, y: usize, x: usize| (0..16).map(|k| pixel(c, 4 * y + k / 4, 4 * x + k % 4)).sum::<f64>() / 16.0;
    let mut sum = 0.0;
    for (i, j) in (0..64).map(|k| (k / 8, k % 8)) {
        let [r, g, b] = [0, 1, 2].map(|c| small(c, row * 8 + i, column * 8 + j));
        let value = match component {
            0 => 0.299 * r + 0.587 * g + 0.114 * b,
            1 => -0.299 / 1.772 * r - 0.587 / 1.772 * g + 0.5 * b,
            _ => 0.5 * r - 0.587 / 1.402 * g - 0.114 / 1.402 * b,
        };
        let wave = |k: usize, i: usize| (std::f64::consts::PI * k as f64 * (i as f64 + 0.5) / 8.0).cos();
        sum += value * wave(u, i) * wave(v, j);
    }
    let scale = |k: usize| if k == 0 { 0.125f64.sqrt() } else { 0.5 };
    sum * scale(u) * scale(v)
}

#[test]
fn coefficients_match_the_definition() {
    let picture = picture(64, 96, rough);
    let latent = encode(&picture, &unit()).unwrap();
    assert_eq!((latent.batch, latent.channels, latent.height, latent.width), (1, 16, 2, 3));
    let frequencies = [
        (0, vec![(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2)]),
        (1, vec![(0, 0), (0, 1), (1, 0), (2, 0)]),
        (2, vec![(0, 0), (0, 1), (1, 0), (2, 0)]),
    ];
    let channels = frequencies.iter().flat_map(|(c, list)| list.iter().map(move |f| (*c, *f)));
    let mut compared = 0;
    for (channel, (component, frequency)) in channels.enumerate() {
        for (row, column) in (0..6).map(|i| (i / 3, i % 3)) {
            let expected = naive(&picture, component, frequency, (row, column));
            let found = f64::from(latent.data[channel * 6 + row * 3 + column]);
            assert!((found - expected).abs() < 1e-6, "channel {channel} at {row},{column}: {found}, not {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, 96);
}

/// The first 16 places of the zig-zag path, walked diagonal by diagonal.
#[test]
fn zigzag_walks_the_diagonals() {
    let mut walked = Vec::new();
    for diagonal in 0..4 {
        let places = (0..=diagonal).map(|k| (k, diagonal - k));
        if diagonal % 2 == 1 { walked.extend(places) } else { walked.extend(places.rev()) }
    }
    assert_eq!(walked[..8], ZIGZAG);
}

#[test]
fn known_colours() {
    // A constant's first coefficient is 8 times it. Y and Cr of red: 2 * 0.299 - 1, 0.5 - -0.5.
    let red = (2.0 * 0.299 - 1.0, -2.0 * 0.299 / 1.772, 1.0);
    let cases = [
        ("black", [-1.0, -1.0, -1.0], (-1.0, 0.0, 0.0)),
        ("white", [1.0, 1.0, 1.0], (1.0, 0.0, 0.0)),
        ("grey", [0.25, 0.25, 0.25], (0.25, 0.0, 0.0)),
        ("red", [1.0, -1.0, -1.0], red),
        ("blue", [-1.0, -1.0, 1.0], (2.0 * 0.114 - 1.0, 1.0, -2.0 * 0.114 / 1.402)),
    ];
    for (name, rgb, (y, cb, cr)) in cases {
        let flat = picture(32, 32, |c, _, _| rgb[c]);
        let latent = encode(&flat, &unit()).unwrap();
        for (channel, value) in latent.data.iter().enumerate() {
            let expected = 8.0 * [(0, y), (8, cb), (12, cr)].iter().find(|e| e.0 == channel).map_or(0.0, |e| e.1);
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{name}, channel {channel}: {value}, not {expected}");
        }
        let back = decode(&latent, &unit()).unwrap();
        assert!(back.psnr_db(&flat).unwrap() > 100.0, "{name}");
    }
}

/// What the kept coefficients can say survives both ways, at any position of a batch and with any statistics.
#[test]
fn band_limited_blocks_come_back() {
    let statistics = Statistics::default();
    let data: Vec<f32> = (0..2 * 16 * 6).map(|i| rough(0, i, 3 * i)).collect();
    let latent = Latent::new(data, [2, 16, 3, 2]).unwrap();
    let small = low_quality(&latent, &statistics).unwrap();
    assert_eq!((small.batch, small.height, small.width), (2, 24, 16));
    let pixels = (0..2 * 3 * 96 * 64).map(|i| (i / (96 * 64), i / 64 % 96, i % 64));
    let data = pixels.map(|(plane, y, x)| small.data[(plane * 24 + y / 4) * 16 + x / 4]).collect();
    let squares = Picture { data, batch: 2, height: 96, width: 64 };
    let again = encode(&squares, &statistics).unwrap();
    for (i, (found, expected)) in again.data.iter().zip(&latent.data).enumerate() {
        assert!((found - expected).abs() < 2e-5, "{i}: {found}, not {expected}");
    }
}

#[test]
fn the_baseline_resembles_a_soft_picture() {
    let soft = |c: usize, y: usize, x: usize| {
        let (y, x) = (y as f32 / 128.0, x as f32 / 192.0);
        0.6 * (3.0 * x + 2.0 * y + c as f32).sin() * (2.5 * y - x).cos()
    };
    let original = picture(128, 192, soft);
    let psnr = |statistics: &Statistics| {
        let latent = encode(&original, statistics).unwrap();
        decode(&latent, statistics).unwrap().psnr_db(&original).unwrap()
    };
    let found = psnr(&Statistics::default());
    // Measured: 46.849 dB.
    assert!((found - 46.85).abs() < 0.01, "{found}");
    assert!((found - psnr(&unit())).abs() < 1e-3, "statistics change no picture");
}

#[test]
fn decoded_values_stay_in_range() {
    let striped = picture(64, 64, |_, _, x| if x / 16 % 2 == 0 { 1.0 } else { -1.0 });
    let latent = encode(&striped, &unit()).unwrap();
    let outside = |p: &Picture| p.data.iter().filter(|v| v.abs() > 1.0).count();
    assert!(outside(&low_quality(&latent, &unit()).unwrap()) > 0);
    assert_eq!(outside(&decode(&latent, &unit()).unwrap()), 0);
}

#[test]
fn sizes_are_checked_and_cropped() {
    for (width, height, words) in [
        (500, 333, vec!["500x333", "480x320", "512x352", "--crop"]),
        (64, 33, vec!["64x32", "64x64"]),
        (31, 64, vec!["the nearest size is 32x64"]),
        (0, 32, vec!["32x32"]),
    ] {
        let text = check_size(width, height).unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    assert_eq!(check_size(2688, 1536), Ok(()));
    let whole = picture(37, 70, |c, y, x| (c * 10_000 + y * 100 + x) as f32);
    assert!(encode(&whole, &unit()).is_err());
    let cut = crop(whole).unwrap();
    assert_eq!((cut.height, cut.width, cut.data.len()), (32, 64, 3 * 32 * 64));
    assert_eq!((cut.data[0], cut.data[64], cut.data[3 * 32 * 64 - 1]), (203.0, 303.0, 23_366.0));
    assert!(crop(picture(31, 64, rough)).is_err());
    let wrong = Latent::new(vec![0.0; 4 * 6], [1, 4, 2, 3]).unwrap();
    assert!(decode(&wrong, &unit()).unwrap_err().to_string().contains("[1, 4, 2, 3]"));
}

#[test]
fn values_must_be_finite() {
    let broken = picture(32, 32, |c, y, x| if (c, y, x) == (1, 5, 9) { f32::NAN } else { 0.0 });
    assert!(encode(&broken, &unit()).unwrap_err().to_string().contains("NaN"));
}

#[test]
fn statistics_are_read_and_checked() {
    let good: BTreeMap<String, String> = Statistics::default().metadata().into();
    assert_eq!(Statistics::from_metadata(&good), Ok(Some(Statistics::default())));
    assert_eq!(Statistics::from_metadata(&BTreeMap::new()), Ok(None));
    let sixteen = |value: &str| format!("[{}]", vec![value; 16].join(","));
    for (key, value, word) in [
        ("dct16.mean", "[1, 2]".to_owned(), "2 numbers"),
        ("dct16.mean", "mean".to_owned(), "dct16.mean"),
        ("dct16.std", sixteen("0.0"), "above 0"),
        ("dct16.std", sixteen("-1"), "above 0"),
        ("dct16.std", sixteen("1e99"), "inf"),
        ("dct16.std", sixteen("null"), "dct16.std"),
    ] {
        let mut metadata = good.clone();
        metadata.insert(key.into(), value);
        let text = Statistics::from_metadata(&metadata).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let mut lonely = good;
    lonely.remove("dct16.std");
    assert!(Statistics::from_metadata(&lonely).unwrap_err().to_string().contains("dct16.std"));
}

/// The training script and this file normalize alike.
#[test]
fn defaults_are_the_training_scripts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/train_demo/dct16.json");
    let values: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let list = |key: &str| serde_json::from_value::<Vec<f32>>(values[key].clone()).unwrap();
    let ours = Statistics::default();
    assert_eq!((list("mean"), list("std")), (ours.mean.to_vec(), ours.std.to_vec()));
}
