use ::png;

use super::exif::Exif;
use super::*;

/// A PNG of `data` as it is.
fn png_file(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(vec![255, 0, 0, 0, 255, 0]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

fn read(name: &str, bytes: &[u8]) -> Result<Picture, InputError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_picture(&path)
}

fn values(picture: &Picture) -> Vec<i32> {
    picture.data.iter().map(|v| ((v + 1.0) * 127.5).round() as i32).collect()
}

#[test]
fn every_kind_of_png() {
    use png::BitDepth::{Eight, One, Sixteen};
    use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let cases: [(_, _, &[u8], [i32; 6]); 7] = [
        (Rgb, Eight, &[1, 2, 3, 250, 5, 6], [1, 250, 2, 5, 3, 6]),
        (Rgba, Eight, &[1, 2, 3, 255, 4, 5, 6, 255], [1, 4, 2, 5, 3, 6]),
        (Grayscale, Eight, &[7, 9], [7, 9, 7, 9, 7, 9]),
        (GrayscaleAlpha, Eight, &[7, 255, 9, 255], [7, 9, 7, 9, 7, 9]),
        (Grayscale, One, &[0b0100_0000], [0, 255, 0, 255, 0, 255]),
        (Indexed, Eight, &[1, 0], [0, 255, 255, 0, 0, 0]),
        (Rgb, Sixteen, &[255, 255, 128, 128, 0, 0, 1, 1, 2, 2, 3, 3], [255, 1, 128, 2, 0, 3]),
    ];
    for (colour, depth, data, expected) in cases {
        let picture = read("a.png", &png_file(2, 1, colour, depth, data)).unwrap();
        assert_eq!((picture.batch, picture.height, picture.width), (1, 1, 2));
        assert_eq!(values(&picture), expected, "{colour:?} {depth:?}");
    }
    // 16 bits are not rounded to 8.
    let fine = read("a.png", &png_file(1, 1, Grayscale, Sixteen, &[0x80, 0x40])).unwrap();
    assert_eq!(fine.data[0], f32::from(0x8040u16) / 32767.5 - 1.0);
    let clear = png_file(2, 1, Rgba, Eight, &[1, 2, 3, 255, 4, 5, 6, 254]);
    let text = read("a.png", &clear).unwrap_err().to_string();
    assert!(text.contains("(1, 0)") && text.contains("254 of 255"), "{text}");
}

fn jpeg_file(exif: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 100);
    if !exif.is_empty() {
        encoder.add_app_segment(1, [b"Exif\0\0", exif].concat()).unwrap();
    }
    // The left half red, the right one blue.
    let rgb: Vec<u8> = (0..16 * 32).flat_map(|i| if i % 32 < 16 { [230, 20, 20] } else { [20, 20, 230] }).collect();
    encoder.encode(&rgb, 32, 16, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

#[test]
fn jpegs_are_read() {
    // The extension may lie.
    let picture = read("a.png", &jpeg_file(&[])).unwrap();
    assert_eq!((picture.height, picture.width), (16, 32));
    let found = values(&picture);
    for (i, expected) in [(8 * 32 + 4, 230), (8 * 32 + 28, 20), (2 * 512 + 8 * 32 + 28, 230)] {
        assert!((found[i] - expected).abs() <= 3, "{i}: {}, not {expected}", found[i]);
    }
}

/// Exif data of one entry.
fn exif(is_little: bool, orientation: u8) -> Vec<u8> {
    let numbers: [(u32, usize); 7] = [(42, 2), (8, 4), (1, 2), (274, 2), (3, 2), (1, 4), (orientation.into(), 2)];
    let mut bytes = if is_little { b"II".to_vec() } else { b"MM".to_vec() };
    for (number, count) in numbers {
        let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
        bytes.extend(if is_little { &little[..count] } else { &big[4 - count..] });
    }
    bytes.extend([0; 6]);
    bytes
}

#[test]
fn pictures_are_turned_upright() {
    // 1 2 3
    // 4 5 6
    let plane = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let source = Picture { data: [plane; 3].concat(), batch: 1, height: 2, width: 3 };
    for (orientation, width, expected) in [
        (1, 3, [1, 2, 3, 4, 5, 6]),
        (2, 3, [3, 2, 1, 6, 5, 4]),
        (3, 3, [6, 5, 4, 3, 2, 1]),
        (4, 3, [4, 5, 6, 1, 2, 3]),
        (5, 2, [1, 4, 2, 5, 3, 6]),
        (6, 2, [4, 1, 5, 2, 6, 3]),
        (7, 2, [6, 3, 5, 2, 4, 1]),
        (8, 2, [3, 6, 2, 5, 1, 4]),
    ] {
        for is_little in [false, true] {
            assert_eq!(Exif::new(&exif(is_little, orientation)).orientation(), u16::from(orientation));
        }
        let turned = upright(source.clone(), orientation.into());
        assert_eq!(turned.width, width, "{orientation}");
        assert_eq!(turned.data, [expected.map(|v| v as f32); 3].concat(), "{orientation}");
    }
    // Red is left in the file, so on top when it is turned right.
    let turned = read("a.jpg", &jpeg_file(&exif(true, 6))).unwrap();
    assert_eq!((turned.height, turned.width), (32, 16));
    assert!(turned.data[0] > 0.5 && turned.data[31 * 16] < -0.5);
}

#[test]
fn damaged_exif_is_none() {
    let whole = exif(false, 6);
    for cut in 0..20 {
        assert_eq!(Exif::new(&whole[..cut]).orientation(), 1, "cut at {cut}");
    }
    assert_eq!(Exif::new(&exif(true, 9)).orientation(), 1);
    let far = [b"II*\0".as_slice(), &[255; 40]].concat();
    assert_eq!(Exif::new(&far).orientation(), 1);
    assert_eq!(Exif::new(&far).colours(), None);
}

#[test]
fn damaged_files_are_refused() {
    let png = png_file(4, 4, png::ColorType::Rgb, png::BitDepth::Eight, &[90; 48]);
    let jpeg = jpeg_file(&[]);
    // A JPEG may lack its end marker, and the decoder has read a byte ahead.
    for (name, whole, spare) in [("a.png", &png, 1), ("a.jpg", &jpeg, 3)] {
        for cut in 0..whole.len() - spare {
            let read = read(name, &whole[..cut]).map(|picture| picture.data.len());
            let error = read.expect_err(&format!("cut at {cut} of {}", whole.len())).to_string();
            assert!(error.contains(name), "{error}");
        }
    }
    let mut flipped = png.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(read("a.png", &flipped).is_err());
    assert!(read("a.bmp", b"BM whatever").unwrap_err().to_string().contains(".png or .jpg"));
    assert!(read_picture("nowhere.png".as_ref()).unwrap_err().to_string().contains("nowhere.png"));
}

#[test]
fn a_promised_size_is_not_allocated() {
    let mut huge = png_file(4, 4, png::ColorType::Rgb, png::BitDepth::Eight, &[90; 48]);
    huge[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    // The header's checksum, IEEE 802.3.
    let crc = huge[12..29].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    });
    huge[29..33].copy_from_slice(&(!crc).to_be_bytes());
    let text = read("a.png", &huge).unwrap_err().to_string();
    assert!(text.contains("60000x60000"), "{text}");
}
