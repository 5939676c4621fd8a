//! `image_u8`: exactly what [`Picture::to_rgb8`] makes of the same picture.

use pid_engine::kernels::OpCall;
use pid_engine::kernels::params::PidImageParams;
use pid_engine::output::Picture;

use crate::faults::assert_caught;
use crate::under_test::{Device, devices, one_device};
use crate::values::Random;

/// A picture within and around [-1, 1].
fn random(batch: usize, height: usize, width: usize) -> Picture {
    let data = Random::new((height * 31 + width) as u64).floats(batch * 3 * height * width, 1.05);
    Picture { data, batch, height, width }
}

fn run(device: &Device, kernel: &'static str, picture: &Picture) -> Result<Vec<u8>, String> {
    let image = device.input(&picture.data);
    let output = device.output::<u8>(picture.data.len());
    let params = PidImageParams {
        image: image.ptr(),
        output: output.mut_ptr(),
        batch: picture.batch as u32,
        height: picture.height as u32,
        width: picture.width as u32,
        reserved: 0,
    };
    device.call(kernel, &OpCall::image_u8(&params))?;
    output.read()
}

fn test(device: &Device, kernel: &'static str, picture: &Picture) -> Result<(), String> {
    let got = run(device, kernel, picture)?;
    let expected: Vec<u8> = (0..picture.batch).flat_map(|sample| picture.to_rgb8(sample)).collect();
    let Picture { batch, height, width, .. } = picture;
    match got.iter().zip(&expected).position(|(g, e)| g != e) {
        None => Ok(()),
        Some(i) => {
            let (got, expected) = (got[i], expected[i]);
            Err(format!("{kernel} {batch} x {height} x {width}: byte {i} is {got}, expected {expected}"))
        }
    }
}

fn test_all(devices: Vec<Device>, pictures: &[Picture]) {
    for device in devices {
        for picture in pictures {
            test(&device, "image_u8", picture).unwrap_or_else(|e| panic!("{}: {e}", device.name));
        }
    }
}

/// Whole vectors and parts of them, at the end of a block and before and behind it.
#[test]
fn any_size() {
    let sizes = [[1, 1], [1, 2], [3, 1], [2, 2], [1, 7], [1, 1023], [32, 32], [5, 205], [4, 257], [1, 1031], [2, 1031]];
    let pictures = sizes.map(|[height, width]| random(1, height, width));
    test_all(devices(), &pictures);
    test_all(devices(), &[random(3, 5, 7), random(2, 6, 6), random(2, 33, 35)]);
}

#[test]
fn picture_size() {
    test_all(one_device(), &[random(2, 512, 384)]);
}

/// Every half between two bytes, its neighbours in float32, what lies beyond the bytes, and what is no number.
#[test]
fn rounding_and_clamping() {
    let halves = (-2..258).map(|n| (f64::from(n) + 0.5) / 127.5 - 1.0);
    let bytes = (-2..258).map(|n| f64::from(n) / 127.5 - 1.0);
    let near = halves.chain(bytes).flat_map(|x| {
        let x = x as f32;
        [x.next_down().next_down(), x.next_down(), x, x.next_up(), x.next_up().next_up()]
    });
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let beyond = [nan, -nan, infinity, -infinity, f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE, 1e-45, 3.0, -3.0];
    let mut data: Vec<f32> = near.chain(beyond).collect();
    // Where float32 has the half itself, the rule for halves decides.
    let exact_halves = data.iter().filter(|x| ((**x + 1.0) * 127.5).fract() == 0.5).count();
    assert!(exact_halves > 64, "{exact_halves}");
    // Both the vector path and the path by element.
    for width in [data.len().next_multiple_of(12) / 3, data.len().next_multiple_of(12) / 3 + 1] {
        data.resize(3 * width, 0.25);
        test_all(devices(), &[Picture { data: data.clone(), batch: 1, height: 1, width }]);
    }
}

#[test]
fn two_runs_are_equal() {
    let picture = random(2, 33, 35);
    let runs = |device: &Device| [(); 2].map(|()| run(device, "image_u8", &picture).unwrap());
    let all: Vec<_> = devices().iter().flat_map(runs).collect();
    assert!(all.iter().all(|bytes| *bytes == all[0]));
}

#[test]
fn faults_are_caught() {
    assert_caught(&["image_u8_no_tail_guard"], |device, kernel| test(device, kernel, &random(1, 2, 2)));
    assert_caught(&["image_u8_no_part_guard"], |device, kernel| test(device, kernel, &random(1, 3, 7)));
}
