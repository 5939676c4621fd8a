//! Layouts in which pipelines leave latents, and the way from each to `[B, C, h, w]`.

use super::{Backbone, InputError, LatentOptions, NamedTensor, check_length};
use crate::models::pid::Config;

type Unpacked = (Vec<f32>, [usize; 4]);

/// Channels of FLUX.2's latents before 2x2 positions become one.
const FLUX2_UNPATCHED: usize = 32;

/// Whether the tensor is FLUX.2's latent as its pipeline returns it, `[B, 32, h, w]`, for the VAE's decoder: not
/// patchified, and raw unless one says otherwise.
pub(super) fn is_unpatched(shape: &[usize], config: &Config) -> bool {
    config.lq_latent_channels == 4 * FLUX2_UNPATCHED && matches!(shape, [_, FLUX2_UNPATCHED, _, _])
}

/// Recognises the layout by backbone and shape:
/// `[B, C, h, w]`, `[C, h, w]`, `[B, C, 1, h, w]`; packed FLUX and Qwen-Image tokens `[B, N, 64]`; packed
/// FLUX.2 tokens `[B, N, 128]`, and its latents `[B, 32, 2 h, 2 w]`; SigLIP-2 and DINOv2 tokens `[B, N, C]` of a square grid.
pub(super) fn unpack(tensor: NamedTensor, config: &Config, options: &LatentOptions) -> Result<Unpacked, InputError> {
    check_length("latent", tensor.data.len(), &tensor.shape)?;
    let shape = tensor.shape.clone();
    match *shape.as_slice() {
        [b, _, h, w] if is_unpatched(&shape, config) => patchify(&tensor.data, [b, h, w]),
        [b, c, h, w] => Ok((tensor.data, [b, c, h, w])),
        [b, c, 1, h, w] => Ok((tensor.data, [b, c, h, w])),
        [c, h, w] if c == config.lq_latent_channels => Ok((tensor.data, [1, c, h, w])),
        [b, n, width] => tokens(&tensor.data, [b, n, width], config, options),
        [n, width] => tokens(&tensor.data, [1, n, width], config, options),
        _ => Err(refused(shape, config)),
    }
}

/// `[B, 32, h, w]` to `[B, 128, h/2, w/2]`: channel `c` at `(2 y + i, 2 x + j)` becomes channel `4 c + 2 i + j` at `(y, x)`.
fn patchify(data: &[f32], [batch, height, width]: [usize; 3]) -> Result<Unpacked, InputError> {
    if height % 2 + width % 2 > 0 {
        let shape = vec![batch, FLUX2_UNPATCHED, height, width];
        let expected = "FLUX.2's 32 channels are taken in squares of 2x2: expected an even height and width".into();
        return Err(InputError::Shape { what: "latent", shape, expected });
    }
    let (rows, cols) = (height / 2, width / 2);
    let source = |i: usize| {
        let (x, y, channel) = (i % cols, i / cols % rows, i / (cols * rows));
        (channel / 4 * height + 2 * y + channel % 4 / 2) * width + 2 * x + channel % 2
    };
    let patched = (0..data.len()).map(|i| data[source(i)]).collect();
    Ok((patched, [batch, 4 * FLUX2_UNPATCHED, rows, cols]))
}

fn refused(shape: Vec<usize>, config: &Config) -> InputError {
    let c = config.lq_latent_channels;
    let packed = match c {
        16 => ", or packed tokens [B, N, 64]",
        128 | 768 | 1152 => ", or tokens [B, N, C]",
        _ => "",
    };
    let expected = format!("expected [B, {c}, h, w]{packed}");
    InputError::Shape { what: "latent", shape, expected }
}

fn tokens(
    data: &[f32],
    [b, n, width]: [usize; 3],
    config: &Config,
    options: &LatentOptions,
) -> Result<Unpacked, InputError> {
    let c = config.lq_latent_channels;
    // Packed 2x2 where the network takes 16 channels; one token per position elsewhere.
    let fold = match (c, options.backbone) {
        (16, None | Some(Backbone::Flux | Backbone::QwenImage)) if width == 64 => 2,
        (128 | 768 | 1152, _) if width == c => 1,
        _ => return Err(refused(vec![b, n, width], config)),
    };
    let (rows, cols) = grid(n, fold, config, options)?;
    let (height, columns) = (rows * fold, cols * fold);
    let mut out = vec![0.0; data.len()];
    for (token, values) in data.chunks_exact(width).enumerate() {
        let (sample, t) = (token / n, token % n);
        let (i, j) = (t / cols, t % cols);
        for (v, value) in values.iter().enumerate() {
            let (channel, y, x) = (v / (fold * fold), v / fold % fold, v % fold);
            out[((sample * c + channel) * height + i * fold + y) * columns + j * fold + x] = *value;
        }
    }
    Ok((out, [b, c, height, columns]))
}

/// Rows and columns of the token grid, from the wanted output; SigLIP-2's and DINOv2's grids are square.
fn grid(n: usize, fold: usize, config: &Config, options: &LatentOptions) -> Result<(usize, usize), InputError> {
    let per = config.pixels_per_latent() * fold;
    let Some((width, height)) = options.output else {
        let side = n.isqrt();
        if config.lq_latent_channels > 128 && side * side == n {
            return Ok((side, side));
        }
        return Err(InputError::Frame(format!(
            "latent: {n} packed tokens do not say how wide their grid is; give the output's --width and --height ({per} pixels per token)"
        )));
    };
    let (rows, cols) = (height / per, width / per);
    if rows.checked_mul(cols) != Some(n) || rows * per != height || cols * per != width {
        let scale = config.sr_scale;
        let whole = |side: usize| side.checked_mul(scale).filter(|s| s % per == 0);
        let hint = match (whole(width), whole(height)) {
            (Some(w), Some(h)) if (w / per).checked_mul(h / per) == Some(n) => {
                format!(
                    ": {width}x{height} is the generator's size; the output is {scale} times that, --width {w} --height {h}"
                )
            }
            _ => String::new(),
        };
        return Err(InputError::Frame(format!(
            "latent: an output of {width}x{height} needs {cols} x {rows} tokens of {per} pixels, the latent has {n}{hint}"
        )));
    }
    Ok((rows, cols))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> NamedTensor {
        let data = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
        NamedTensor { name: "latent".into(), shape: shape.to_vec(), data }
    }

    fn options(backbone: Backbone, output: Option<(usize, usize)>) -> LatentOptions {
        LatentOptions { backbone: Some(backbone), output, ..LatentOptions::default() }
    }

    #[test]
    fn flux_tokens_unfold_into_two_by_two() {
        let config = Config::by_name("flux-v1.5").unwrap();
        let (data, shape) = unpack(tensor(&[1, 6, 64]), &config, &options(Backbone::Flux, Some((192, 128)))).unwrap();
        assert_eq!(shape, [1, 16, 4, 6]);
        // Token 4 is (1, 1); channel 3, inner (1, 0) is its value 3 * 4 + 2.
        assert_eq!(data[(3 * 4 + 3) * 6 + 2], (4 * 64 + 14) as f32);
    }

    #[test]
    fn flux2_tokens_are_transposed() {
        let config = Config::by_name("flux2-v1.5").unwrap();
        let (data, shape) = unpack(tensor(&[2, 6, 128]), &config, &options(Backbone::Flux2, Some((192, 128)))).unwrap();
        assert_eq!(shape, [2, 128, 2, 3]);
        assert_eq!(data[((128 + 5) * 2 + 1) * 3 + 2], ((6 + 5) * 128 + 5) as f32);
    }

    #[test]
    fn square_grids_need_no_size() {
        let config = Config::by_name("siglip-2k").unwrap();
        let (_, shape) = unpack(tensor(&[1, 256, 1152]), &config, &options(Backbone::Siglip, None)).unwrap();
        assert_eq!(shape, [1, 1152, 16, 16]);
    }

    #[test]
    fn grids_that_do_not_fit_are_refused() {
        let config = Config::by_name("flux-2k").unwrap();
        let error = unpack(tensor(&[1, 6, 64]), &config, &options(Backbone::Flux, None)).unwrap_err();
        assert!(error.to_string().contains("--width and --height"), "{error}");
        let error = unpack(tensor(&[1, 6, 64]), &config, &options(Backbone::Flux, Some((256, 128)))).unwrap_err();
        assert!(error.to_string().contains("4 x 2") && error.to_string().contains('6'), "{error}");
        let error = unpack(tensor(&[1, 6, 64]), &config, &options(Backbone::Sd3, Some((192, 128)))).unwrap_err();
        assert!(error.to_string().contains("[B, 16, h, w]"), "{error}");
    }

    #[test]
    fn the_generators_size_is_recognised() {
        let config = Config::by_name("flux-2k").unwrap();
        let error =
            unpack(tensor(&[1, 64 * 48, 64]), &config, &options(Backbone::Flux, Some((1024, 768)))).unwrap_err();
        assert!(error.to_string().contains("4 times that, --width 4096 --height 3072"), "{error}");
    }

    #[test]
    fn flux2_squares_become_channels() {
        let config = Config::by_name("flux2-v1.5").unwrap();
        let (data, shape) = unpack(tensor(&[2, 32, 4, 6]), &config, &options(Backbone::Flux2, None)).unwrap();
        assert_eq!(shape, [2, 128, 2, 3]);
        // Channel 5 of sample 1 at (3, 4) is channel 4 * 5 + 2 at (1, 2).
        assert_eq!(data[((128 + 22) * 2 + 1) * 3 + 2], (((32 + 5) * 4 + 3) * 6 + 4) as f32);
        let odd = unpack(tensor(&[1, 32, 3, 6]), &config, &options(Backbone::Flux2, None)).unwrap_err();
        assert!(odd.to_string().contains("even"), "{odd}");
    }

    #[test]
    fn a_unit_time_axis_is_dropped() {
        let config = Config::by_name("qwenimage-v1.5").unwrap();
        let (_, shape) = unpack(tensor(&[1, 16, 1, 2, 3]), &config, &options(Backbone::QwenImage, None)).unwrap();
        assert_eq!(shape, [1, 16, 2, 3]);
    }
}
