//! Layouts in which pipelines leave latents, and the way from each to `[B, C, h, w]`.

use super::{Backbone, InputError, LatentOptions, NamedTensor, check_length};
use crate::model::Config;

type Unpacked = (Vec<f32>, [usize; 4]);

/// Recognises the layout by backbone and shape:
/// `[B, C, h, w]`, `[C, h, w]`, `[B, C, 1, h, w]`; packed FLUX and Qwen-Image tokens `[B, N, 64]`; packed
/// FLUX.2 tokens `[B, N, 128]`; SigLIP-2 and DINOv2 tokens `[B, N, C]` of a square grid.
pub(super) fn unpack(tensor: NamedTensor, config: &Config, options: &LatentOptions) -> Result<Unpacked, InputError> {
    check_length("latent", tensor.data.len(), &tensor.shape)?;
    let shape = tensor.shape.clone();
    match *shape.as_slice() {
        [b, c, h, w] => Ok((tensor.data, [b, c, h, w])),
        [b, c, 1, h, w] => Ok((tensor.data, [b, c, h, w])),
        [c, h, w] if c == config.lq_latent_channels => Ok((tensor.data, [1, c, h, w])),
        [b, n, width] => tokens(&tensor.data, [b, n, width], config, options),
        [n, width] => tokens(&tensor.data, [1, n, width], config, options),
        _ => Err(refused(shape, config)),
    }
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
        return Err(InputError::Frame(format!(
            "latent: an output of {width}x{height} needs {cols} x {rows} tokens of {per} pixels, the latent has {n}"
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
    fn a_unit_time_axis_is_dropped() {
        let config = Config::by_name("qwenimage-v1.5").unwrap();
        let (_, shape) = unpack(tensor(&[1, 16, 1, 2, 3]), &config, &options(Backbone::QwenImage, None)).unwrap();
        assert_eq!(shape, [1, 16, 2, 3]);
    }
}
