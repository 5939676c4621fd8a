//! From a picture's own colours to sRGB.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use moxcms::{
    Chromaticity, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout, MatrixCoefficients, ProfileText,
    ToneReprCurve, TransformF32Executor, TransformOptions,
};

use super::super::guard::guarded;

/// What a file says about its colours.
pub(super) enum Tag {
    None,
    /// A profile.
    Icc(Vec<u8>),
    /// A profile that cannot be read, and why.
    Broken(String),
    /// Code points (ITU-T H.273) of PNG's cICP chunk.
    #[allow(missing_docs)]
    Cicp {
        primaries: u8,
        transfer: u8,
        matrix: u8,
        is_full_range: bool,
    },
    /// PNG's sRGB chunk.
    Srgb,
    /// PNG's gAMA (the exponent that encoded, 1/2.2 say) and cHRM chunks (x and y of white, red, green and blue).
    #[allow(missing_docs)]
    Chromaticities {
        gamma: Option<f64>,
        points: Option<[[f64; 2]; 4]>,
    },
    /// Exif's word for Adobe RGB (1998).
    AdobeRgb,
    /// Exif's word for another space than sRGB, which it does not name.
    Uncalibrated,
}

/// What the values of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Grey,
    Rgb,
    /// Ink, 1 the most of it.
    Cmyk,
}

impl Model {
    pub(super) const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The colour space that a picture's file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceProfile {
    /// Its name, as a profile calls itself.
    pub name: String,
    /// What of the file names it.
    pub source: &'static str,
    /// Whether the values were converted to sRGB; those of sRGB itself are not.
    pub is_converted: bool,
}

/// The way to sRGB.
pub(super) struct Conversion {
    transform: Arc<TransformF32Executor>,
    /// Values of a pixel that it takes.
    pub(super) channels: usize,
}

impl Conversion {
    /// Converts pixels of values in [0, 1] to red, green and blue in [0, 1].
    pub(super) fn apply(&self, mut pixels: Vec<f32>) -> Result<Vec<f32>, String> {
        pixels.iter_mut().for_each(|v| *v = v.max(BLACK));
        let mut rgb = vec![0.0; pixels.len() / self.channels * 3];
        guarded(|| self.transform.transform(&pixels, &mut rgb))?.map_err(|e| e.to_string())?;
        if rgb.iter().any(|v| !v.is_finite()) {
            return Err("it makes values that are no numbers".into());
        }
        rgb.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        Ok(rgb)
    }
}

/// What is to be done with a picture's colours.
#[derive(Default)]
pub(super) struct Colours {
    pub(super) conversion: Option<Conversion>,
    pub(super) profile: Option<SourceProfile>,
    /// What could not be done.
    pub(super) warning: Option<String>,
}

/// Stands for 0, a twelfth of a step of 16 bits above it in the darkest tones: moxcms 0.9.2 has 0^1.8 as a large number.
const BLACK: f32 = 1e-7;

/// The most that a space may differ from sRGB and pass as it, of a range of 1: half a step of 8 bits. Its many published
/// profiles differ by less, and values that are left alone stay exact.
const SAME: f32 = 1.0 / 512.0;

/// PNG's gAMA of sRGB pictures, written before there was a chunk for sRGB: the exponent 1/2.2, near its curve.
const SRGB_GAMMA: f64 = 0.45455;
/// cHRM of sRGB: white, red, green, blue.
const SRGB_POINTS: [[f64; 2]; 4] = [[0.3127, 0.329], [0.64, 0.33], [0.3, 0.6], [0.15, 0.06]];

/// The colours of a picture that says `tag` of itself. A profile that cannot be used is a warning, and the picture is
/// read as sRGB.
///
/// # Errors
/// When the picture is of a kind that no fixed rule brings to sRGB (high dynamic range).
pub(super) fn colours(tag: &Tag, model: Model) -> Result<Colours, String> {
    let named = match named(tag)? {
        Named::Nothing => return Ok(Colours { warning: untagged(tag, model), ..Colours::default() }),
        Named::Srgb(source) => {
            let profile = SourceProfile { name: "sRGB".into(), source, is_converted: false };
            return Ok(Colours { profile: Some(profile), ..Colours::default() });
        }
        Named::Profile(found) => found,
    };
    let (source, opened) = named;
    let converted = opened.and_then(|(name, profile)| Ok((name, conversion(&profile, model)?)));
    Ok(match converted {
        Ok((name, conversion)) => {
            let is_converted = conversion.is_some();
            Colours { conversion, profile: Some(SourceProfile { name, source, is_converted }), warning: None }
        }
        Err(why) => {
            let instead = if model == Model::Cmyk { "plain CMYK" } else { "sRGB" };
            let warning = format!("its {source} cannot be used ({why}); the picture is read as {instead}");
            Colours { warning: Some(warning), ..Colours::default() }
        }
    })
}

/// What is known of a picture without a usable profile.
fn untagged(tag: &Tag, model: Model) -> Option<String> {
    match (tag, model) {
        (_, Model::Cmyk) => Some("CMYK without a profile: its colours are approximate".into()),
        (Tag::Uncalibrated, _) => {
            Some("its Exif data say that its colours are not sRGB, but not what they are; it is read as sRGB".into())
        }
        _ => None,
    }
}

/// A profile with its name, or why there is none.
type Opened = Result<(String, Box<ColorProfile>), String>;

enum Named {
    Nothing,
    /// sRGB itself, and what says so.
    Srgb(&'static str),
    /// A profile, and what it comes from.
    Profile((&'static str, Opened)),
}

fn named(tag: &Tag) -> Result<Named, String> {
    const ICC: &str = "ICC profile";
    Ok(match tag {
        Tag::None | Tag::Uncalibrated => Named::Nothing,
        Tag::Srgb => Named::Srgb("sRGB chunk"),
        Tag::Broken(why) => Named::Profile((ICC, Err(why.clone()))),
        Tag::Icc(bytes) => Named::Profile((ICC, guarded(|| open(bytes)).flatten())),
        Tag::AdobeRgb => {
            let profile = Box::new(ColorProfile::new_adobe_rgb());
            Named::Profile(("Exif data", Ok(("Adobe RGB (1998)".into(), profile))))
        }
        Tag::Cicp { primaries, transfer, matrix, is_full_range } => {
            if matches!(transfer, 16 | 18) {
                let curve = if *transfer == 16 { "PQ" } else { "HLG" };
                return Err(format!("a picture of high dynamic range ({curve}): map its tones to sRGB first"));
            }
            let opened = match (*matrix, *is_full_range) {
                (0, true) => guarded(|| cicp(*primaries, *transfer)).flatten(),
                (0, false) => Err("it says that the range is not the full one".into()),
                (matrix, _) => Err(format!("its matrix is {matrix}, and RGB has 0")),
            };
            Named::Profile(("cICP chunk", opened))
        }
        Tag::Chromaticities { gamma, points } => chromaticities(*gamma, points.as_ref()),
    })
}

fn open(bytes: &[u8]) -> Opened {
    let profile = Box::new(ColorProfile::new_from_slice(bytes).map_err(|e| e.to_string())?);
    let name = match &profile.description {
        Some(ProfileText::PlainString(text)) => text.clone(),
        Some(ProfileText::Localizable(texts)) => texts.first().map(|t| t.value.clone()).unwrap_or_default(),
        Some(ProfileText::Description(text)) => text.ascii_string.clone(),
        None => String::new(),
    };
    let name = name.trim_matches(['\0', ' ']).to_owned();
    Ok((if name.is_empty() { "without a name".into() } else { name }, profile))
}

fn cicp(primaries: u8, transfer: u8) -> Opened {
    let unknown = |e: moxcms::CmsError| e.to_string();
    let points = CicpProfile {
        color_primaries: primaries.try_into().map_err(unknown)?,
        transfer_characteristics: transfer.try_into().map_err(unknown)?,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    };
    let profile = Box::new(ColorProfile::new_from_cicp(points));
    let name = match (primaries, transfer) {
        (1, 13) => "sRGB".into(),
        (12, 13) => "Display P3".into(),
        _ => format!("primaries {primaries}, transfer {transfer} of H.273"),
    };
    Ok((name, profile))
}

/// A space of PNG's older chunks: sRGB but for what they say.
fn chromaticities(gamma: Option<f64>, points: Option<&[[f64; 2]; 4]>) -> Named {
    let source = match (gamma, points) {
        (Some(_), Some(_)) => "gAMA and cHRM chunks",
        (Some(_), None) => "gAMA chunk",
        _ => "cHRM chunk",
    };
    let near = |a: f64, b: f64| (a - b).abs() < 0.005;
    let is_srgb_points =
        points.is_none_or(|p| p.iter().flatten().zip(SRGB_POINTS.iter().flatten()).all(|(a, b)| near(*a, *b)));
    if is_srgb_points && gamma.is_none_or(|g| near(g, SRGB_GAMMA)) {
        return Named::Srgb(source);
    }
    let mut profile = Box::new(ColorProfile::new_srgb());
    profile.cicp = None;
    if let Some(points) = points.filter(|_| !is_srgb_points) {
        if points.iter().any(|[x, y]| *x < 0.0 || *y <= 0.0 || x + y > 1.0) {
            return Named::Profile((source, Err("they name no colours".into())));
        }
        let [white, red, green, blue] = points.map(|[x, y]| Chromaticity::new(x as f32, y as f32));
        profile.update_rgb_colorimetry(white.to_xyyb(), ColorPrimaries { red, green, blue });
    }
    if let Some(gamma) = gamma {
        if gamma <= 0.0 {
            return Named::Profile((source, Err(format!("a gamma of {gamma} is none"))));
        }
        let curve = Some(ToneReprCurve::Parametric(vec![(1.0 / gamma) as f32]));
        (profile.red_trc, profile.green_trc, profile.blue_trc) = (curve.clone(), curve.clone(), curve);
    }
    let shown = |gamma: f64| format!("gamma {:.2}", 1.0 / gamma);
    let parts = [gamma.map(shown), points.filter(|_| !is_srgb_points).map(|_| "primaries of its own".to_owned())];
    Named::Profile((source, Ok((parts.into_iter().flatten().collect::<Vec<_>>().join(", "), profile))))
}

/// The conversion from `profile`; `None` where that is sRGB.
fn conversion(profile: &ColorProfile, model: Model) -> Result<Option<Conversion>, String> {
    let (layout, channels) = match (profile.color_space, model) {
        (DataColorSpace::Gray, Model::Grey) => (Layout::Gray, 1),
        (DataColorSpace::Rgb, Model::Grey | Model::Rgb) => (Layout::Rgb, 3),
        // moxcms has CMYK in the layout of four values.
        (DataColorSpace::Cmyk, Model::Cmyk) => (Layout::Rgba, 4),
        (other, model) => return Err(format!("it is one of {other:?}, the picture is {model:?}")),
    };
    let tables = [&profile.lut_a_to_b_perceptual, &profile.lut_a_to_b_colorimetric, &profile.lut_a_to_b_saturation];
    // Curves as formulas keep 16 bits; by tables, dark tones of linear pictures are off by up to 50 of 65535. Where the
    // profile itself has tables, they make it worse (up to 18 of 255 from lcms, in place of 5).
    let allow_extended_range_rgb_xyz = tables.iter().all(|table| table.is_none());
    let options =
        TransformOptions { prefer_fixed_point: false, allow_extended_range_rgb_xyz, ..TransformOptions::default() };
    let srgb = ColorProfile::new_srgb();
    let transform = guarded(|| profile.create_transform_f32(layout, &srgb, Layout::Rgb, options))?;
    let transform = transform.map_err(|e| e.to_string())?;
    let conversion = Conversion { transform, channels };
    let probe = probe(channels);
    let found = conversion.apply(probe.clone())?;
    let expected = |i: usize| probe[if channels == 1 { i / 3 } else { i }];
    let is_same = channels < 4 && found.iter().enumerate().all(|(i, v)| (v - expected(i)).abs() < SAME);
    Ok((!is_same).then_some(conversion))
}

/// Pixels all over the range, and a ramp of greys.
fn probe(channels: usize) -> Vec<f32> {
    const SIDE: usize = 6;
    let place = |i: usize, c: usize| (i / SIDE.pow(c as u32) % SIDE) as f32 / (SIDE - 1) as f32;
    let grid = (0..SIDE.pow(channels as u32)).flat_map(|i| (0..channels).map(move |c| place(i, c)));
    let ramp = (0..=255u8).flat_map(|v| std::iter::repeat_n(f32::from(v) / 255.0, channels));
    grid.chain(ramp).collect()
}

/// A colour of sRGB, 8 bits a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// Red, green and blue in [-1, 1].
    pub(super) fn values(self) -> [f32; 3] {
        self.0.map(|v| f32::from(v) / 127.5 - 1.0)
    }
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no colour; give white, black, or #rrggbb in hexadecimal digits");
        let digits = match text.to_lowercase().as_str() {
            "white" => return Ok(Self([255; 3])),
            "black" => return Ok(Self([0; 3])),
            other => other.strip_prefix('#').unwrap_or(other).to_owned(),
        };
        let is_hex = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(&digits, 16).ok().filter(|_| is_hex).ok_or_else(unknown)?;
        let [_, rgb @ ..] = number.to_be_bytes();
        Ok(Self(rgb))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}
