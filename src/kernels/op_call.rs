//! An op with its parameters, before it is known which kernel computes it.

use std::fmt;

use super::call::Params;
use super::entry::Entry;
use super::params::{
    PidAttentionParams, PidConvParams, PidEmbedParams, PidGemm, PidGroupNormParams, PidImageParams,
    PidLatentGateParams, PidLinearParams, PidNoiseParams, PidPixelEmbedParams, PidPixelModulateParams,
    PidPixelUpdateParams, PidQkvParams, PidResidualParams, PidSampleStepParams, PidSwiGluParams,
};

/// What an op computes, as far as the best kernel for it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpShape {
    /// The op: its portable kernel's name.
    pub op: &'static str,
    /// Rows of the result; of attention queries, over all heads.
    pub rows: u32,
    /// Columns of the result; of attention keys.
    pub n: u32,
    /// Inner size; of attention that of a head.
    pub k: u32,
}

impl fmt::Display for OpShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, rows, n, k } = self;
        write!(f, "{op} {rows} x {n} x {k}")
    }
}

/// Where a product's A comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsOfA {
    /// A buffer by stream row: the group's rows stand together.
    Stream,
    /// A buffer by joint row: those of one sample stand together.
    Joint,
    /// The kernel makes it of something else as it reads.
    Loaded,
}

/// A bf16 output. Buffers that hold a range of rows only are named by where row 0 would lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `[rows, columns]` by stream row.
    Stream(*mut u16, u32),
    /// `[joint rows, columns]`.
    Joint(*mut u16, u32),
    /// q, k and v, `[B, heads, N, 64]` each, and the heads.
    Heads([*mut u16; 3], u32),
}

impl Output {
    /// Whether the rows of one sample stand apart from the next one's.
    pub(super) fn is_by_sample(self) -> bool {
        !matches!(self, Self::Stream(..))
    }
}

/// The parameters of a product.
pub trait ProductParams: Copy {
    /// Its sizes and operands.
    fn gemm(&self) -> &PidGemm;

    /// What bulk stores can write; `None` where no kernel of the product has any.
    fn output(&self) -> Option<Output> {
        None
    }
}

/// Implements [`ProductParams`] for parameter structs, with the output of those that have one.
macro_rules! products {
    ($($params:ty $(=> |$p:ident| $output:expr)?),* $(,)?) => {
        $(impl ProductParams for $params {
            fn gemm(&self) -> &PidGemm {
                &self.gemm
            }
            $(fn output(&self) -> Option<Output> {
                let $p = self;
                Some($output)
            })?
        })*
    };
}

products! {
    PidLinearParams => |p| Output::Stream(p.output, p.gemm.n),
    PidSwiGluParams => |p| Output::Joint(p.output, p.gemm.n / 2),
    PidQkvParams => |p| Output::Heads([p.q, p.k, p.v], p.heads),
    PidEmbedParams,
    PidResidualParams,
    PidLatentGateParams,
    PidPixelModulateParams,
}

/// A product `A [rows, k] x B [n, k]^T` of one or two groups, with its epilogue.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Its sizes and operands.
    pub gemm: &'a PidGemm,
    /// Where A comes from.
    pub a: RowsOfA,
    /// What bulk stores can write.
    pub output: Option<Output>,
    /// All of its parameters.
    pub params: Params<'a>,
}

/// What a kernel takes.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A product.
    Product(Product<'a>),
    /// A product that a second one with the attention follows.
    PixelUpdate(&'a PidPixelUpdateParams),
    /// A 3x3 convolution.
    Convolution(&'a PidConvParams),
    /// An attention.
    Attention(&'a PidAttentionParams),
    /// As many items along x, y and z as the op has, of which a block does `Entry::tile` along x, and one along y and z.
    Items([u64; 3], Params<'a>),
}

/// An op and what its kernel takes.
#[derive(Clone, Copy, Debug)]
pub struct OpCall<'a> {
    /// The op: its portable kernel's name.
    pub op: &'static str,
    /// What its kernel takes.
    pub work: Work<'a>,
}

impl<'a> OpCall<'a> {
    /// Product `op`, whose A comes from where `a` says.
    pub fn product<P: ProductParams>(op: &'static str, a: RowsOfA, params: &'a P) -> Self {
        let product = Product { gemm: params.gemm(), a, output: params.output(), params: Params::of(params) };
        Self { op, work: Work::Product(product) }
    }

    /// `gemm_pixel_update*`.
    pub fn pixel_update(op: &'static str, params: &'a PidPixelUpdateParams) -> Self {
        Self { op, work: Work::PixelUpdate(params) }
    }

    /// `conv3x3_*`.
    pub fn convolution(op: &'static str, params: &'a PidConvParams) -> Self {
        Self { op, work: Work::Convolution(params) }
    }

    /// `attention_*`.
    pub fn attention(op: &'static str, params: &'a PidAttentionParams) -> Self {
        Self { op, work: Work::Attention(params) }
    }

    /// An op on as many items along x, y and z.
    pub fn items<P: Copy>(op: &'static str, items: [u64; 3], params: &'a P) -> Self {
        Self { op, work: Work::Items(items, Params::of(params)) }
    }

    /// `rows_*`.
    pub fn rows<P: Copy>(op: &'static str, num_rows: u32, params: &'a P) -> Self {
        Self::items(op, [num_rows.into(), 1, 1], params)
    }

    /// `group_norm_sums`: by slab, group and sample.
    pub fn group_norm_sums(params: &'a PidGroupNormParams) -> Self {
        Self::items("group_norm_sums", [params.slabs, params.groups, params.batch].map(u64::from), params)
    }

    /// `group_norm_apply`: by 8 channels, and by sample.
    pub fn group_norm_apply(params: &'a PidGroupNormParams) -> Self {
        let vectors = params.tokens * params.channels / 8;
        Self::items("group_norm_apply", [vectors, 1, params.batch].map(u64::from), params)
    }

    /// `pixel_embed`: by patch.
    pub fn pixel_embed(params: &'a PidPixelEmbedParams) -> Self {
        let patches = params.batch * params.grid_rows * params.grid_cols;
        Self::items("pixel_embed", [patches.into(), 1, 1], params)
    }

    /// `sample_step`: by patch.
    pub fn sample_step(params: &'a PidSampleStepParams) -> Self {
        let patches = params.batch * params.sample.grid_rows * params.sample.grid_cols;
        Self::items("sample_step", [patches.into(), 1, 1], params)
    }

    /// `philox_normal`: by value.
    pub fn noise(params: &'a PidNoiseParams) -> Self {
        Self::items("philox_normal", [params.count, 1, 1], params)
    }

    /// `image_u8`: by pixel, and by sample.
    pub fn image_u8(params: &'a PidImageParams) -> Self {
        Self::items("image_u8", [params.height * params.width, 1, params.batch].map(u64::from), params)
    }

    /// The product's sizes, where it is one.
    pub fn gemm(&self) -> Option<&'a PidGemm> {
        match self.work {
            Work::Product(product) => Some(product.gemm),
            Work::PixelUpdate(params) => Some(&params.gemm),
            Work::Convolution(params) => Some(&params.gemm),
            Work::Attention(_) | Work::Items(..) => None,
        }
    }

    /// What it computes.
    pub fn shape(&self) -> OpShape {
        let [rows, n, k] = match (self.gemm(), self.work) {
            (Some(gemm), _) => {
                [gemm.group[..gemm.num_groups as usize].iter().map(|g| g.rows.count).sum(), gemm.n, gemm.k]
            }
            (None, Work::Attention(p)) => {
                let head = Entry::find(self.op).map_or(0, |entry| entry.tile[2]);
                [p.batch * p.heads * (p.tokens - p.query_start), p.tokens, head]
            }
            (None, _) => [0; 3],
        };
        OpShape { op: self.op, rows, n, k }
    }
}
