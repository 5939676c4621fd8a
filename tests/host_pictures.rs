//! Pictures as people have them: in other colours than sRGB, not opaque, too large, and broken in ways that decoders did
//! not expect.

#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;

use common::{Sandbox, json};
use moxcms::ColorProfile;
use pid_engine::latent::PictureFile;

/// A chunk of a PNG file.
fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [name.as_slice(), body].concat();
    // IEEE 802.3.
    let crc = named.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    });
    [&(body.len() as u32).to_be_bytes(), named.as_slice(), &(!crc).to_be_bytes()].concat()
}

/// A PNG file with `chunks` after its header.
fn png_file(
    width: u32,
    height: u32,
    kind: (png::ColorType, png::BitDepth),
    data: &[u8],
    chunks: &[Vec<u8>],
) -> Vec<u8> {
    const HEADER: usize = 8 + 25;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(kind.0);
    encoder.set_depth(kind.1);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    [&bytes[..HEADER], &chunks.concat(), &bytes[HEADER..]].concat()
}

const RGB8: (png::ColorType, png::BitDepth) = (png::ColorType::Rgb, png::BitDepth::Eight);
const RGB16: (png::ColorType, png::BitDepth) = (png::ColorType::Rgb, png::BitDepth::Sixteen);
const GREY8: (png::ColorType, png::BitDepth) = (png::ColorType::Grayscale, png::BitDepth::Eight);
const RGBA8: (png::ColorType, png::BitDepth) = (png::ColorType::Rgba, png::BitDepth::Eight);

/// An iCCP chunk, its profile deflated in stored blocks.
fn iccp(profile: &[u8]) -> Vec<u8> {
    let length = profile.len() as u16;
    let adler = profile.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    let parts: [&[u8]; 6] = [
        b"x\0\0\x78\x01\x01",
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        profile,
        &(adler.1 as u16).to_be_bytes(),
        &(adler.0 as u16).to_be_bytes(),
    ];
    chunk(b"iCCP", &parts.concat())
}

fn numbers(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| ((v * 1e5).round() as u32).to_be_bytes()).collect()
}

fn read(bytes: &[u8]) -> Result<PictureFile, String> {
    read_on(bytes, None)
}

fn read_on(bytes: &[u8], background: Option<&str>) -> Result<PictureFile, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    PictureFile::open(file.path(), background.map(|text| text.parse().unwrap())).map_err(|e| e.to_string())
}

/// The first pixel in [0, 255].
fn pixel(read: &PictureFile) -> [f32; 3] {
    let plane = read.picture.width * read.picture.height;
    [0, plane, 2 * plane].map(|i| (read.picture.data[i] + 1.0) * 127.5)
}

/// Whether the first pixel is `expected` within `off`, and the space is said to be `name`.
fn is_read_as(bytes: &[u8], expected: [f32; 3], off: f32, name: &str) {
    let read = read(bytes).unwrap();
    let found = pixel(&read);
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= off), "{name}: {found:?}, not {expected:?}");
    let profile = read.profile.unwrap();
    assert!(profile.name.contains(name), "{profile:?}");
    assert!(profile.is_converted && read.warnings.is_empty(), "{profile:?} {:?}", read.warnings);
}

/// Values by the definitions of the spaces, in float64.
#[test]
fn colours_are_converted_by_their_profile() {
    let p3 = iccp(&ColorProfile::new_display_p3().encode().unwrap());
    is_read_as(&png_file(1, 1, RGB8, &[200, 100, 50], std::slice::from_ref(&p3)), [214.90, 92.61, 30.95], 0.1, "P3");
    // Twelve bits below the eighth are not lost: 8-bit steps are 257 apart.
    let wide: Vec<f32> = [25_700u16, 25_710]
        .map(|v| {
            let data = [v, v, v].map(u16::to_be_bytes).concat();
            pixel(&read(&png_file(1, 1, RGB16, &data, std::slice::from_ref(&p3))).unwrap())[0]
        })
        .into();
    assert!((wide[1] - wide[0] - 10.0 / 257.0).abs() < 0.01, "{wide:?}");
    let grey = |name: &[u8; 4], body: &[u8]| png_file(1, 1, GREY8, &[128], &[chunk(name, body)]);
    is_read_as(&grey(b"gAMA", &numbers(&[1.0])), [187.845; 3], 0.01, "gamma 1.00");
    let p3_points = numbers(&[0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06]);
    let chunks = [chunk(b"cHRM", &p3_points)];
    is_read_as(&png_file(1, 1, RGB8, &[200, 100, 50], &chunks), [214.90, 92.61, 30.95], 0.1, "primaries");
    let chunks = [chunk(b"cICP", &[12, 13, 0, 1]), iccp(b"not looked at")];
    is_read_as(&png_file(1, 1, RGB8, &[200, 100, 50], &chunks), [214.90, 92.61, 30.95], 0.1, "Display P3");
    let grey_profile = iccp(&ColorProfile::new_gray_with_gamma(1.8).encode().unwrap());
    is_read_as(&png_file(1, 1, GREY8, &[128], &[grey_profile]), [146.41; 3], 0.1, "");
    let adobe = ColorProfile::new_adobe_rgb().encode().unwrap();
    is_read_as(&png_file(1, 1, RGB8, &[120, 100, 140], &[iccp(&adobe)]), [127.94, 100.07, 142.72], 0.1, "Adobe");
}

/// The first pixel of `p3.png` is sRGB's pure red.
#[test]
fn a_tagged_picture_is_said_to_be_converted() {
    let sandbox = Sandbox::new();
    fs::copy(format!("{}/tests/cases/p3.png", env!("CARGO_MANIFEST_DIR")), sandbox.path("p3.png")).unwrap();
    let read = PictureFile::open(&sandbox.path("p3.png"), None).unwrap();
    assert_eq!(read.picture.to_rgb8(0)[..3], [255, 0, 0]);
    let run = sandbox.pid(&["encode", "--image", "p3.png", "--out", "l.safetensors", "--json"]);
    let said = serde_json::json!({ "profile": "Display P3", "source": "ICC profile", "converted_to_srgb": true });
    assert_eq!((run.code, &json(&run.stdout)["colors"]), (0, &said), "{}", run.stderr);
    let run = sandbox.pid(&["encode", "--image", "p3.png", "--out", "l.safetensors"]);
    assert!(run.stdout.contains("converted from Display P3 (ICC profile) to sRGB"), "{}", run.stdout);
    let run = sandbox.pid(&["demo", "--image", "p3.png", "--device", "cpu", "--json"]);
    assert_eq!((run.code, &json(&run.stdout)["colors"]), (0, &said), "{}", run.stderr);
}

#[test]
fn srgb_stays_as_it_is() {
    let srgb = iccp(&ColorProfile::new_srgb().encode().unwrap());
    let points = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06];
    for chunks in [
        vec![],
        vec![srgb],
        vec![chunk(b"sRGB", &[0]), chunk(b"gAMA", &numbers(&[1.0]))],
        vec![chunk(b"gAMA", &numbers(&[0.45455])), chunk(b"cHRM", &numbers(&points))],
        vec![chunk(b"cICP", &[1, 13, 0, 1])],
    ] {
        let read = read(&png_file(1, 1, RGB8, &[200, 100, 50], &chunks)).unwrap();
        assert_eq!(read.picture.data, [200.0, 100.0, 50.0].map(|v: f32| v / 127.5 - 1.0));
        assert!(!read.profile.is_some_and(|p| p.is_converted) && read.warnings.is_empty());
    }
}

#[test]
fn profiles_that_cannot_be_used_are_warned_of() {
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let grey = ColorProfile::new_gray_with_gamma(1.8).encode().unwrap();
    for (profile, word) in [
        (chunk(b"iCCP", b"x\0\0no zlib"), "inflated"),
        (iccp(&p3[..200]), "cannot be used"),
        (iccp(&[0xff; 500]), "cannot be used"),
        (iccp(&grey), "Gray"),
        (chunk(b"cICP", &[77, 13, 0, 1]), "cICP"),
        (chunk(b"cHRM", &numbers(&[0.0; 8])), "cHRM"),
    ] {
        let read = read(&png_file(1, 1, RGB8, &[200, 100, 50], &[profile])).unwrap();
        assert_eq!(read.picture.to_rgb8(0), [200, 100, 50], "{word}");
        assert!(read.profile.is_none() && read.warnings.len() == 1, "{word}");
        assert!(read.warnings[0].contains(word) && read.warnings[0].contains("read as sRGB"), "{:?}", read.warnings);
    }
    let pq = png_file(1, 1, RGB8, &[200, 100, 50], &[chunk(b"cICP", &[9, 16, 0, 1])]);
    assert!(read(&pq).unwrap_err().contains("high dynamic range (PQ)"));
    // Every damage of a profile: a picture, and no panic.
    for at in (0..p3.len()).step_by(3) {
        let mut damaged = p3.clone();
        damaged[at] ^= 0xff;
        assert!(read(&png_file(1, 1, RGB8, &[200, 100, 50], &[iccp(&damaged)])).is_ok(), "byte {at}");
    }
}

/// A JPEG file of one colour.
fn jpeg_file(colour: &[u8], kind: jpeg_encoder::ColorType, segments: &[(u8, Vec<u8>)], profile: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 100);
    for (number, body) in segments {
        encoder.add_app_segment(*number, body.clone()).unwrap();
    }
    if !profile.is_empty() {
        encoder.add_icc_profile(profile).unwrap();
    }
    encoder.encode(&colour.repeat(32 * 32), 32, 32, kind).unwrap();
    bytes
}

#[test]
fn profiles_of_jpegs_come_in_pieces() {
    let mut profile = ColorProfile::new_display_p3().encode().unwrap();
    // Unused bytes at the end make it three segments long.
    profile.resize(150_000, 0);
    let length = (profile.len() as u32).to_be_bytes();
    profile[..4].copy_from_slice(&length);
    let file = jpeg_file(&[200, 100, 50], jpeg_encoder::ColorType::Rgb, &[], &profile);
    is_read_as(&file, [214.90, 92.61, 30.95], 2.5, "P3");
    // One of the pieces lost.
    let second = file.windows(14).position(|w| w.starts_with(b"ICC_PROFILE\0") && w[12] == 2).unwrap();
    let mut lost = file.clone();
    lost[second] = b'x';
    let read = read(&lost).unwrap();
    assert!(read.warnings[0].contains("2 of its 3 pieces"), "{:?}", read.warnings);
}

/// Exif data of a camera: colour space and interoperability index.
fn exif(space: u16, index: &[u8; 4]) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value].concat()
    };
    let number = |n: u32| n.to_le_bytes();
    let directory =
        |entries: &[Vec<u8>]| [&(entries.len() as u16).to_le_bytes()[..], &entries.concat(), &[0; 4]].concat();
    [
        b"Exif\0\0II*\0\x08\0\0\0".to_vec(),
        directory(&[entry(0x8769, 4, 1, number(26))]),
        directory(&[entry(0xa001, 3, 1, number(space.into())), entry(0xa005, 4, 1, number(56))]),
        directory(&[entry(1, 2, 4, *index)]),
    ]
    .concat()
}

#[test]
fn cameras_say_adobe_rgb_in_exif() {
    let file = |space, index| jpeg_file(&[100, 200, 0], jpeg_encoder::ColorType::Rgb, &[(1, exif(space, index))], &[]);
    is_read_as(&file(0xffff, b"R03\0"), [0.0, 201.3, 0.0], 4.0, "Adobe RGB (1998)");
    let plain = read(&file(1, b"R98\0")).unwrap();
    assert!(plain.profile.is_none() && plain.warnings.is_empty() && (pixel(&plain)[0] - 100.0).abs() < 2.0);
    let unknown = read(&file(0xffff, b"R98\0")).unwrap();
    assert!(unknown.warnings[0].contains("not sRGB"), "{:?}", unknown.warnings);
}

#[test]
fn inks_become_colours() {
    // The encoder writes ink as Adobe does, inverted.
    for kind in [jpeg_encoder::ColorType::Cmyk, jpeg_encoder::ColorType::CmykAsYcck] {
        let read = read(&jpeg_file(&[0, 128, 255, 51], kind, &[], &[])).unwrap();
        let found = pixel(&read);
        let expected = [204.0, 101.6, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 3.0), "{kind:?}: {found:?}");
        assert!(read.warnings[0].contains("CMYK without a profile"), "{:?}", read.warnings);
    }
}

/// libjpeg skips what lies between segments and before the end, and so do we. A file that was cut is still an error.
#[test]
fn stray_bytes_are_skipped() {
    let case = fs::read(format!("{}/tests/cases/extran.jpg", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert_eq!(read(&case).unwrap().picture.width, 64);
    let mut encoded = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut encoded, 90);
    encoder.set_progressive(true);
    let wave = |i: usize| ((i as f32 / 17.0).sin() * 100.0 + 128.0) as u8;
    let rgb: Vec<u8> = (0..48 * 40 * 3).map(wave).collect();
    encoder.encode(&rgb, 48, 40, jpeg_encoder::ColorType::Rgb).unwrap();
    let whole = read(&encoded).unwrap().picture;
    // Before each segment of tables or a scan.
    let starts: Vec<usize> = (2..encoded.len() - 1)
        .filter(|i| encoded[*i] == 0xff && matches!(encoded[i + 1], 0xc2 | 0xc4 | 0xdb))
        .collect();
    assert!(starts.len() > 4);
    for at in starts {
        for stray in [&[0u8, 0x12, 0x34][..], &[7; 400], &[0xff, 0xff], &[0xff, 0, 9]] {
            let file = [&encoded[..at], stray, &encoded[at..]].concat();
            assert!(read(&file).unwrap().picture == whole, "{} stray bytes at {at}", stray.len());
        }
    }
    let trailing = [&encoded[..], b"what a phone appends \xff\xd8\xff\xe1"].concat();
    assert!(read(&trailing).unwrap().picture == whole);
    assert!(read(&encoded[..encoded.len() / 2]).unwrap_err().contains("damaged .jpg file"));
}

/// `x_2p2.jpg` panics in zune-jpeg 0.5.15.
#[test]
fn what_the_decoder_cannot_do_is_an_error() {
    let sandbox = Sandbox::new();
    fs::copy(format!("{}/tests/cases/x_2p2.jpg", env!("CARGO_MANIFEST_DIR")), sandbox.path("x.jpg")).unwrap();
    let run = sandbox.pid(&["encode", "--image", "x.jpg", "--out", "l.safetensors", "--json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("x.jpg: a JPEG file of 2 components"), "{error}");
    assert_eq!(run.stderr, format!("error: {error}\n"));
    let mut arithmetic = fs::read(sandbox.path("x.jpg")).unwrap();
    let frame = arithmetic.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
    arithmetic[frame + 1] = 0xca;
    assert!(read(&arithmetic).unwrap_err().contains("SOF10"));
}

#[test]
fn pictures_that_are_too_large_are_said_to_be() {
    let text = |(width, height): (u32, u32)| {
        let mut file = png_file(4, 4, RGB8, &[90; 48], &[]);
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        file.splice(8..33, chunk(b"IHDR", &header));
        read(&file).unwrap_err()
    };
    let large = text((15_000, 9_000));
    assert!(large.contains("too large: 15000x9000, 135 megapixels") && large.contains("134217728"), "{large}");
    assert!(!large.contains("damaged"), "{large}");
    // What cannot be in the file is not allocated.
    assert!(text((11_000, 11_000)).contains("cannot come out of"));
    let jpeg = jpeg_file(&[1, 2, 3], jpeg_encoder::ColorType::Rgb, &[], &[]);
    let sized = |width: u16, height: u16| {
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        let mut file = jpeg.clone();
        file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        read(&file).unwrap_err()
    };
    assert!(sized(15_000, 9_000).contains("too large: 15000x9000"));
    assert!(sized(11_000, 11_000).contains("cannot come out of"));
}

#[test]
fn pictures_are_laid_on_a_background() {
    let clear = png_file(2, 1, RGBA8, &[200, 100, 0, 255, 200, 100, 50, 51], &[]);
    let nearly = png_file(3, 1, RGBA8, &[1, 2, 3, 254, 1, 2, 3, 255, 1, 2, 3, 254], &[]);
    let text = read(&clear).unwrap_err();
    assert!(text.contains("1 of 2 pixels are not opaque (alpha 51 of 255") && text.contains("(1, 0)"), "{text}");
    assert!(text.contains("--flatten white"), "{text}");
    let text = read(&nearly).unwrap_err();
    assert!(text.contains("2 of 3 pixels are nearly opaque") && text.contains("(0, 0) with 254 of 255"), "{text}");
    for (background, expected) in [("white", [244, 224, 214]), ("black", [40, 20, 10]), ("#0a141E", [48, 36, 34])] {
        let rgb = read_on(&clear, Some(background)).unwrap().picture.to_rgb8(0);
        assert_eq!((&rgb[..3], &rgb[3..]), (&[200, 100, 0][..], &expected[..]), "{background}");
    }
    let sandbox = Sandbox::new();
    let tile = [200u8, 100, 50, 254].repeat(32 * 32);
    fs::write(sandbox.path("x.png"), png_file(32, 32, RGBA8, &tile, &[])).unwrap();
    let encode = ["encode", "--image", "x.png", "--out", "l.safetensors"];
    let run = sandbox.pid(&encode);
    assert!(run.code == 1 && run.stderr.contains("1024 of 1024 pixels are nearly opaque"), "{}", run.stderr);
    let run = sandbox.pid(&[&encode[..], &["--flatten", "white"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let run = sandbox.pid(&["demo", "--device", "cpu", "--image", "x.png", "--flatten", "#000000"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let run = sandbox.pid(&[&encode[..], &["--flatten", "mauve"]].concat());
    assert!(run.code == 2 && run.stderr.contains("mauve") && run.stderr.contains("#rrggbb"), "{}", run.stderr);
}
