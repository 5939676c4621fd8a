//! The typed ops. One op is one fused kernel's worth of work; its doc comment is its definition, the CPU
//! backend is the executable form of that definition, and every other backend is tested against it.
//!
//! Symbols: `B` batch, `T` text tokens, `L = Hs * Ws` image tokens (patches), `N = T + L`, `D` hidden size,
//! `H x W` pixels, `P` patch size, `C` channels of a pixel (16). `[.., X]`: last axis contiguous.
//! *Joint rows*: rows of a `[B, N, X]` tensor, within each sample the text rows first, then the image rows.
//! `rms(x; w) = x / sqrt(mean(x^2) + 1e-6) * w` over the last axis.
//! Tensors named in `&mut`-like fields (`stream`, `pixels`, `image`) are updated in place.

use super::{ConstantId, TensorId, WeightId};

/// `y = x W^T + b`; `weight` is `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    /// `[out, in]`.
    pub weight: WeightId,
    /// `[out]`.
    pub bias: Option<WeightId>,
}

/// Which of the two token streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Stream {
    Image,
    Text,
}

/// What a [`Norm`] divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `(x - mean(x)) / sqrt(variance(x) + eps)`, biased variance.
    Layer,
}

/// What keeps a norm's root from 0; comparable by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epsilon(u32);

impl Epsilon {
    /// That of [`Norm::rms`].
    pub const USUAL: Self = Self::new(1e-6);

    /// One of that value.
    pub const fn new(value: f32) -> Self {
        Self(value.to_bits())
    }

    /// Its value.
    pub const fn value(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// `y = norm(x) * weight [+ bias]` over the last axis, and with a modulation `y * (1 + scale) + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Norm {
    /// Of which kind.
    pub kind: NormKind,
    /// See [`NormKind`].
    pub eps: Epsilon,
    /// `[D]`.
    pub weight: WeightId,
    /// `[D]`; of a [`NormKind::Layer`] alone.
    pub bias: Option<WeightId>,
    /// The same in every row.
    pub modulation: Option<Modulation>,
}

impl Norm {
    /// `rms(x; weight)`, modulated or not.
    pub const fn rms(weight: WeightId, modulation: Option<Modulation>) -> Self {
        Self { kind: NormKind::Rms, eps: Epsilon::USUAL, weight, bias: None, modulation }
    }

    /// Whether it is what a product can be folded with ([`Emit`]): that of [`Norm::rms`].
    pub fn is_foldable(&self) -> bool {
        *self == Self::rms(self.weight, self.modulation)
    }
}

/// See [`Norm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modulation {
    /// `[D]`.
    pub shift: ConstantId,
    /// `[D]`.
    pub scale: ConstantId,
}

/// What a kernel that writes a stream x leaves for the next product, in bf16 graphs: `operand = x * scale` in bf16, scale
/// = `weight (1 + scale)` of the norm that follows (1 without one), and sums of squares of x over slices of 64 columns.
/// The product then yields `rms(x; weight) (1 + scale) + shift` of every row without reading x again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Emit {
    /// `[B, rows, D]` bf16.
    pub operand: TensorId,
    /// `[B, rows, D / 64]` float32.
    pub sums: TensorId,
    /// The norm that the next product needs.
    pub norm: Option<Norm>,
}

/// Sizes shared by the ops on tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tokens {
    /// `B`.
    pub batch: usize,
    /// `T`; 0 where an op sees the image alone.
    pub text: usize,
    /// `Hs`.
    pub grid_rows: usize,
    /// `Ws`.
    pub grid_cols: usize,
}

impl Tokens {
    /// `L`.
    pub const fn image(self) -> usize {
        self.grid_rows * self.grid_cols
    }
    /// `N = T + L`.
    pub const fn joint(self) -> usize {
        self.text + self.image()
    }
    /// The grid of which a convolution with `stride` makes this one.
    pub const fn before_stride(self, stride: usize) -> Self {
        Self { grid_rows: stride * self.grid_rows, grid_cols: stride * self.grid_cols, ..self }
    }
    /// The same grid without text.
    pub const fn image_only(self) -> Self {
        Self { text: 0, ..self }
    }
}

/// Border handling of a 3x3 convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Padding {
    Zeros,
    Replicate,
}

/// Where a convolution's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvInput {
    /// `[B, C, h, w]`: unpatchified by `unpatchify` (channel `c*f*f + fy*f + fx` goes to channel `c`
    /// at `(f*y + fy, f*x + fx)`), then nearest-upsampled to `Hs x Ws` (`src = floor(dst * in / out)`); stride 1.
    #[allow(missing_docs)]
    Image { channels: usize, height: usize, width: usize, unpatchify: usize },
    /// `[B, Hs * Ws, C]`; with a stride s, `s Hs` rows of `s Ws`.
    #[allow(missing_docs)]
    Tokens { channels: usize },
}

/// 3x3 convolution: `output = f(conv(input) + bias) [+ output]`, f = silu or identity. Output pixel (y, x) is under input pixels
/// `stride y - before` to `stride y - before + 2`, likewise in x.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Conv3x3 {
    pub tokens: Tokens,
    pub source: ConvInput,
    pub input: TensorId,
    /// `[B, L, out_channels]`.
    pub output: TensorId,
    /// Weight `[out, 9, in]` (tap-major: tap `ky*3 + kx`), bias `[out]`.
    pub kernel: Affine,
    pub out_channels: usize,
    pub padding: Padding,
    /// 1 or 2: the input has so many rows and columns for one of the output's.
    pub stride: usize,
    /// Rows and columns of border before the input's first, 0 or 1.
    pub before: usize,
    pub silu: bool,
    /// Add to what `output` holds instead of overwriting it.
    pub accumulate: bool,
}

/// Slabs into which [`GroupNormSilu`] cuts the tokens.
pub const GROUP_NORM_SLABS: usize = 64;

/// `output = silu(group_norm(input) * weight + bias)`, statistics per sample and group over tokens and the
/// group's channels, biased variance, `eps = 1e-5`. May run in place (`input == output`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct GroupNormSilu {
    pub tokens: Tokens,
    pub input: TensorId,
    pub output: TensorId,
    pub channels: usize,
    pub groups: usize,
    pub weight: WeightId,
    pub bias: WeightId,
    /// `[B, groups, SLABS, 2]` float32: workspace of the kernels, which sum slabs of tokens first.
    pub slab_sums: Option<TensorId>,
}

/// `output = input W^T + b` on `rows` rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Linear {
    pub rows: usize,
    pub input: TensorId,
    pub output: TensorId,
    pub affine: Affine,
    pub in_features: usize,
    pub out_features: usize,
}

/// `output = rms(input W^T + b; norm) + position[t]`, `[B, T, E] -> [B, T, D]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct EmbedRows {
    pub tokens: Tokens,
    pub input: TensorId,
    pub output: TensorId,
    pub affine: Affine,
    pub norm: WeightId,
    /// `[max_tokens, D]`, the first T rows are used.
    pub position: WeightId,
    pub in_features: usize,
    pub out_features: usize,
}

/// `output[r] = table[ids[r]]`; NaN where an id names no row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Lookup {
    pub rows: usize,
    /// int32, as many elements as rows.
    pub ids: TensorId,
    /// float32, `rows` rows of `width`.
    pub output: TensorId,
    /// `[entries, width]`.
    pub table: WeightId,
    pub entries: usize,
    pub width: usize,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// `output = input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Copy {
    pub input: TensorId,
    pub output: TensorId,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// `stream[n] = W patch(n) + b`, patch n of `image [B, 3, H, W]` as `[c, py, px]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PatchEmbed {
    pub tokens: Tokens,
    pub image: TensorId,
    /// `[B, L, D]`.
    pub stream: TensorId,
    /// `[D, 3 * P * P]`.
    pub affine: Affine,
    pub patch: usize,
    pub hidden: usize,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// `stream += sigmoid(stream W^T + feature_half - exp(log_slope) * level[b]) * features`: the noisier what the features were made
/// of, the less of them is added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct FeatureGate {
    pub tokens: Tokens,
    /// `[B, L, D]`.
    pub stream: TensorId,
    /// `[B, L, D]`.
    pub features: TensorId,
    /// `[B, L, G]`: the part of the gate's linear that reads the features, bias included.
    pub feature_half: TensorId,
    /// `[B]`.
    pub level: TensorId,
    /// `[G, D]`, `G` = 1 (per token) or D (per token and channel).
    pub weight: WeightId,
    /// Scalar.
    pub log_slope: WeightId,
    pub hidden: usize,
    pub gate_width: usize,
    /// `[B, L, D]` bf16: the stream as the gate's product reads it, where kernels have left it.
    pub operand: Option<TensorId>,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// Rotary embedding of an attention's queries and keys, pairs `(2m, 2m + 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotary {
    /// Two-dimensional, for image tokens, NTK-aware against a reference grid of `reference` patches.
    #[allow(missing_docs)]
    Image { reference_rows: usize, reference_cols: usize },
    /// Text positions.
    Text,
}

/// One stream of a [`QkvProject`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct QkvStream {
    pub stream: Stream,
    /// `[B, T or L, in_features]`.
    pub input: TensorId,
    pub norm: Option<Norm>,
    /// `[(heads + 2 * kv_heads) * head_dim, in_features]`, no bias.
    pub weight: WeightId,
    /// `[head_dim]`.
    pub q_norm: WeightId,
    /// `[head_dim]`.
    pub k_norm: WeightId,
    pub rotary: Rotary,
    /// Sums of squares when `input` is an [`Emit`]'s operand.
    pub sums: Option<TensorId>,
}

/// `z = norm(input)`, `[q, k, v] = z W^T`, q and k per head `rms` then rotary, written to the joint sequence
/// `[B, heads, N, head_dim]` (text first), k and v with `kv_heads`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct QkvProject {
    pub tokens: Tokens,
    pub streams: Vec<QkvStream>,
    pub q: TensorId,
    pub k: TensorId,
    pub v: TensorId,
    pub in_features: usize,
    pub heads: usize,
    /// Heads of k and v; `heads` is a multiple of it.
    pub kv_heads: usize,
    pub head_dim: usize,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// All.
    None,
    /// Those of its own token and of tokens before it.
    Causal,
}

/// `output[b, n, h] = softmax(scores) v`, `scores = q k^T / sqrt(head_dim)`,
/// `[B, heads, N, head_dim] -> [B, N, heads * head_dim]`. Head h of q goes with head `h / (heads / kv_heads)` of k and v.
/// Rows before `query_start` are not computed (nobody reads them).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Attention {
    pub tokens: Tokens,
    pub q: TensorId,
    pub k: TensorId,
    pub v: TensorId,
    pub output: TensorId,
    pub heads: usize,
    /// Heads of k and v; `heads` is a multiple of it.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub query_start: usize,
    pub mask: Mask,
    /// `[B]` int32: tokens of each sample that are seen, at least the first; those after them are padding. All without.
    pub lengths: Option<TensorId>,
    /// c, with which scores become `c tanh(scores / c)`.
    pub soft_cap: Option<u32>,
}

impl Attention {
    /// Attention of as many heads of k and v as of q, `[heads, head_dim]`, in which all tokens are seen.
    pub fn of_all(
        [q, k, v]: [TensorId; 3],
        output: TensorId,
        tokens: Tokens,
        [heads, head_dim]: [usize; 2],
        query_start: usize,
    ) -> Self {
        let (mask, lengths, soft_cap) = (Mask::None, None, None);
        Self { tokens, q, k, v, output, heads, kv_heads: heads, head_dim, query_start, mask, lengths, soft_cap }
    }
}

/// One stream of a [`Glu`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct GluStream {
    pub stream: Stream,
    /// `[B, T or L, D]`.
    pub input: TensorId,
    pub norm: Norm,
    /// `[2 * inner, D]`, row `2i` is w1's row i, row `2i + 1` is w3's.
    pub weight: WeightId,
    /// Sums of squares when `input` is an [`Emit`]'s operand.
    pub sums: Option<TensorId>,
}

/// What a [`Glu`] does to its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + e^-x)`: SwiGLU.
    Silu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`: GeGLU.
    GeluTanh,
}

/// Gated linear unit: `output = f(w1 z) * (w3 z)`, `z = norm(input)`; output has joint rows `[B, N, inner]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Glu {
    pub tokens: Tokens,
    pub streams: Vec<GluStream>,
    pub output: TensorId,
    pub hidden: usize,
    pub inner: usize,
    /// f.
    pub activation: Activation,
}

/// One stream of a [`GatedResidual`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct GatedResidualStream {
    pub stream: Stream,
    /// `[B, T or L, D]`, updated.
    pub residual: TensorId,
    /// `[D, in_features]`.
    pub affine: Affine,
    /// `[D]`; 1 without.
    pub gate: Option<ConstantId>,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// `residual += gate * (input W^T + b)`; input has joint rows `[B, N, in_features]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct GatedResidual {
    pub tokens: Tokens,
    pub input: TensorId,
    pub streams: Vec<GatedResidualStream>,
    pub in_features: usize,
    pub hidden: usize,
}

/// `stream = silu(vector + stream)`, the same vector in every row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct AddSilu {
    pub tokens: Tokens,
    pub stream: TensorId,
    /// `[D]`.
    pub vector: ConstantId,
    pub hidden: usize,
    /// See [`Emit`].
    pub emit: Option<Emit>,
}

/// `pixels[b, n, p] = W rgb + b + [sin(u w_k), cos(u w_k), sin(v w_k), cos(v w_k)]`, `w_k = 10000^(-k/4)`,
/// pixel `p = py * P + px` of patch n at column u, row v.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PixelEmbed {
    pub tokens: Tokens,
    pub image: TensorId,
    /// `[B, L, P * P, C]`.
    pub pixels: TensorId,
    /// `[C, 3]`.
    pub affine: Affine,
    pub patch: usize,
    pub channels: usize,
}

/// `output = rms(pixels; norm) * (1 + scale) + shift`, `[shift, scale] = stream W^T + b` per pixel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PixelModulate {
    pub tokens: Tokens,
    /// `[B, L, D]`.
    pub stream: TensorId,
    /// `[B, L, P * P, C]`.
    pub pixels: TensorId,
    /// `[B, L, P * P * C]`.
    pub output: TensorId,
    /// `[P*P * 2 * C, D]`: per pixel shift_a, scale_a.
    pub modulation: Affine,
    /// `[C]`.
    pub norm: WeightId,
    pub hidden: usize,
    pub patch: usize,
    pub channels: usize,
}

/// Per pixel, with `[gate_a, shift_m, scale_m, gate_m] = stream W^T + b` and `e = attention expand^T + b`:
/// `pixels += gate_a * e`, then `pixels += gate_m * fc2(gelu(fc1(rms(pixels; norm) * (1 + scale_m) + shift_m)))`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PixelUpdate {
    pub tokens: Tokens,
    /// `[B, L, D]`.
    pub stream: TensorId,
    /// `[B, L, attention_width]`.
    pub attention: TensorId,
    /// `[B, L, P * P, C]`, updated.
    pub pixels: TensorId,
    /// `[P*P * 4 * C, D]`.
    pub modulation: Affine,
    /// `[P*P * C, attention_width]`: the attention's output projection and the expansion in one.
    pub expand: Affine,
    /// `[C]`.
    pub norm: WeightId,
    /// `[mlp_width, C]`.
    pub fc1: Affine,
    /// `[C, mlp_width]`.
    pub fc2: Affine,
    pub hidden: usize,
    pub attention_width: usize,
    pub mlp_width: usize,
    pub patch: usize,
    pub channels: usize,
    /// The sampler's step, done in place of storing the pixels that nobody else reads.
    pub sample: Option<SampleStep>,
}

/// `output = ` standard normal noise of draw `first_draw` (before the loop) or `first_draw + step`
/// (in the loop, skipped after the last step), or the caller's noise for that draw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Noise {
    /// `[B, 3, H, W]` float32.
    pub output: TensorId,
    pub first_draw: usize,
}

/// The network's last layer and the sampler's step: `v = linear(rms(pixels; norm))` on the image grid,
/// then `x0 = image - t v` and
/// sde: `image = (1 - t') x0 + t' noise`, ode: `image += (t' - t) v`; last step: `image = x0`, which the reader
/// clamps to [-1, 1].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct SampleStep {
    pub tokens: Tokens,
    /// `[B, L, P * P, C]`.
    pub pixels: TensorId,
    /// `[B, 3, H, W]` float32, updated.
    pub image: TensorId,
    /// `[B, 3, H, W]` float32; unread in the last step and by ode.
    pub noise: TensorId,
    /// `[B, 3, H, W]` float32, written when asked for.
    pub velocity: Option<TensorId>,
    /// `[C]`.
    pub norm: WeightId,
    /// `[3, C]`.
    pub affine: Affine,
    pub patch: usize,
    pub channels: usize,
}

/// See the variants' structs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Op {
    Conv3x3(Conv3x3),
    GroupNormSilu(GroupNormSilu),
    Linear(Linear),
    EmbedRows(EmbedRows),
    Lookup(Lookup),
    Copy(Copy),
    PatchEmbed(PatchEmbed),
    FeatureGate(FeatureGate),
    QkvProject(QkvProject),
    Attention(Attention),
    Glu(Glu),
    GatedResidual(GatedResidual),
    AddSilu(AddSilu),
    PixelEmbed(PixelEmbed),
    PixelModulate(PixelModulate),
    PixelUpdate(PixelUpdate),
    Noise(Noise),
    SampleStep(SampleStep),
}
