//! Builds the graph of a whole decode from a [`Config`] and the request's sizes (spec: nv-tlabs/PiD
//! `pid/_src/networks/{pid_net,pixeldit_official,lq_projection_2d}.py`).
//!
//! Exact savings made here: the adapter, the feature halves of the gates and the caption embedding run once
//! per decode; patch-block modulations are constants of the step; a pixel block's `attn.proj` and
//! `expand_from_attn` are one matrix; the last block has no text output branch.

use super::config::{Config, PaddingMode};
use super::constants;
use super::layers::{PatchBlock, linear, pixel_slots, stored, vector};
use super::options::NetworkOptions;
use crate::graph::op::{
    AddSilu, Affine, Attention, Conv3x3, ConvInput, Copy, EmbedRows, FeatureGate, GroupNormSilu, Linear, Noise,
    Padding, PatchEmbed, PixelEmbed, PixelModulate, PixelUpdate, QkvProject, QkvStream, Rotary, SampleStep, Stream,
    Tokens,
};
use crate::graph::{ElementType, Graph, GraphError, Op, Phase, Role, TensorId};
use crate::weights::{Recipe, Weight};

/// Builds the graph. Inputs: `latent` `[B, C, h, w]`, `caption` `[B, T, E]`, `sigma` `[B]`; outputs: `image` `[B, 3, H, W]`, in
/// the end the result, and, observed, `velocity` `[B, 3, H, W]`; all float32.
///
/// # Errors
/// Only for a config that [`Config::validate`] refuses, or sizes it does not divide.
pub fn build(config: &Config, options: &NetworkOptions) -> Result<Graph, GraphError> {
    Builder::new(config, options).build()
}

/// Features of one gate: `(features [B, L, D], feature half [B, L, G])`.
type GateFeatures = (TensorId, TensorId);

/// Where gates find their features: kept from before the loop, or made of the adapter's trunk in every step.
struct GateSource<'a> {
    trunk: TensorId,
    kept: &'a [GateFeatures],
}

struct Builder<'a> {
    config: &'a Config,
    options: &'a NetworkOptions,
    graph: Graph,
    tokens: Tokens,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, options: &'a NetworkOptions) -> Self {
        let tokens = Tokens {
            batch: options.batch,
            text: options.text_tokens,
            grid_rows: options.height / config.patch_size,
            grid_cols: options.width / config.patch_size,
        };
        let mut graph = Graph::default();
        constants::declare(&mut graph, config);
        Self { config, options, graph, tokens }
    }

    fn temporary(&mut self, name: &str, shape: &[usize]) -> TensorId {
        self.graph.tensor(name, shape, self.options.precision.activations, Role::Temporary)
    }

    fn float(&mut self, name: &str, shape: &[usize], role: Role) -> TensorId {
        self.graph.tensor(name, shape, ElementType::F32, role)
    }

    fn build(mut self) -> Result<Graph, GraphError> {
        let (config, batch) = (self.config, self.options.batch);
        let per = config.pixels_per_latent();
        let (height, width) = (self.options.height, self.options.width);
        let latent_shape = [batch, config.lq_latent_channels, height / per, width / per];
        let latent = self.float("latent", &latent_shape, Role::Input);
        let caption = self.float("caption", &[batch, self.tokens.text, config.txt_embed_dim], Role::Input);
        let sigma = self.float("sigma", &[batch], Role::Input);
        let image_shape = [batch, config.in_channels, height, width];
        let image = self.float("image", &image_shape, Role::Output);
        let noise = self.float("noise", &image_shape, Role::Temporary);
        let velocity = self.options.observed.then(|| self.float("velocity", &image_shape, Role::Output));

        let trunk = self.adapter(latent, &latent_shape)?;
        let mut kept = Vec::new();
        if !self.options.recompute_features {
            for gate in 0..self.num_gates() {
                kept.push(self.features(gate, trunk, Phase::Once)?);
            }
        }
        let caption_rows = self.text_embed(caption)?;
        self.graph.push("noise.first", Phase::Once, Op::Noise(Noise { output: image, first_draw: 0 }))?;

        let stream = self.patch_blocks(image, caption_rows, sigma, &GateSource { trunk, kept: &kept })?;
        self.pixel_blocks(image, stream, noise, velocity)?;
        Ok(self.graph)
    }

    /// Gates between patch blocks, then the one before the pixel blocks.
    fn num_gates(&self) -> usize {
        self.config.num_gates() + usize::from(self.config.pit_lq_inject)
    }

    fn adapter(&mut self, latent: TensorId, latent_shape: &[usize; 4]) -> Result<TensorId, GraphError> {
        let (config, tokens) = (self.config, self.tokens);
        let hid = config.lq_hidden_dim;
        let shape = [tokens.batch, tokens.image(), hid];
        let first = self.temporary("adapter.first", &shape);
        let trunk = self.temporary("adapter.trunk", &shape);
        let source = ConvInput::Image {
            channels: latent_shape[1],
            height: latent_shape[2],
            width: latent_shape[3],
            unpatchify: config.lq_latent_unpatchify_factor,
        };
        let name = "lq_proj.latent_proj";
        self.conv(&format!("{name}.0"), config.adapter_channels(), source, latent, first, Then::Silu)?;
        let wide = ConvInput::Tokens { channels: hid };
        self.conv(&format!("{name}.2"), hid, wide, first, trunk, Then::Nothing)?;
        for i in 0..config.lq_num_res_blocks {
            let block = format!("{name}.{}.block", i + 3);
            let normed = self.temporary("adapter.normed", &shape);
            let inner = self.temporary("adapter.inner", &shape);
            self.group_norm(&format!("{block}.0"), trunk, normed)?;
            self.conv(&format!("{block}.2"), hid, wide, normed, inner, Then::Nothing)?;
            self.group_norm(&format!("{block}.3"), inner, inner)?;
            self.conv(&format!("{block}.5"), hid, wide, inner, trunk, Then::Accumulate)?;
        }
        Ok(trunk)
    }

    fn conv(
        &mut self,
        name: &str,
        in_channels: usize,
        source: ConvInput,
        input: TensorId,
        output: TensorId,
        then: Then,
    ) -> Result<(), GraphError> {
        let out_channels = self.config.lq_hidden_dim;
        let recipe = Recipe::ConvTaps { source: format!("{name}.weight"), in_channels };
        let weight = self.graph.weight(Weight::new(out_channels, 9 * in_channels, recipe));
        let bias = vector(&mut self.graph, &format!("{name}.bias"), out_channels);
        let padding = match self.config.lq_conv_padding_mode {
            PaddingMode::Zeros => Padding::Zeros,
            PaddingMode::Replicate => Padding::Replicate,
        };
        let op = Conv3x3 {
            tokens: self.tokens,
            source,
            input,
            output,
            kernel: Affine { weight, bias: Some(bias) },
            out_channels,
            padding,
            stride: 1,
            before: 1,
            silu: then == Then::Silu,
            accumulate: then == Then::Accumulate,
        };
        self.graph.push(name, Phase::Once, Op::Conv3x3(op))
    }

    fn group_norm(&mut self, name: &str, input: TensorId, output: TensorId) -> Result<(), GraphError> {
        let (channels, groups) = (self.config.lq_hidden_dim, 4);
        let op = GroupNormSilu {
            tokens: self.tokens,
            input,
            output,
            channels,
            groups,
            weight: vector(&mut self.graph, &format!("{name}.weight"), channels),
            bias: vector(&mut self.graph, &format!("{name}.bias"), channels),
            slab_sums: None,
        };
        self.graph.push(name, Phase::Once, Op::GroupNormSilu(op))
    }

    /// `(head, gate module)` of gate `gate`, as named in the checkpoint.
    fn gate_names(&self, gate: usize) -> (String, String) {
        if gate < self.config.num_gates() {
            (format!("lq_proj.output_heads.{gate}"), format!("lq_proj.gate_modules.{gate}"))
        } else {
            ("lq_proj.pit_head".into(), "pit_lq_gate".into())
        }
    }

    fn features(&mut self, gate: usize, trunk: TensorId, phase: Phase) -> Result<GateFeatures, GraphError> {
        let (head, module) = self.gate_names(gate);
        let (d, width, tokens) = (self.config.hidden_size, self.config.gate_width(), self.tokens);
        let features = self.temporary(&format!("features.{gate}"), &[tokens.batch, tokens.image(), d]);
        let half = self.temporary(&format!("feature_half.{gate}"), &[tokens.batch, tokens.image(), width]);
        let rows = tokens.batch * tokens.image();
        let affine = linear(&mut self.graph, &head, d, self.config.lq_hidden_dim);
        let (in_features, out_features) = (self.config.lq_hidden_dim, d);
        let op = Linear { rows, input: trunk, output: features, affine, in_features, out_features };
        self.graph.push(head, phase, Op::Linear(op))?;
        self.tap(features, format!("lq_proj.{gate}"));
        let source = format!("{module}.content_proj.weight");
        let recipe = Recipe::Columns { source, start: d, width: 2 * d };
        let weight = self.graph.weight(Weight::new(width, d, recipe));
        let bias = vector(&mut self.graph, &format!("{module}.content_proj.bias"), width);
        let affine = Affine { weight, bias: Some(bias) };
        let op = Linear { rows, input: features, output: half, affine, in_features: d, out_features: width };
        self.graph.push(format!("{module}.feature_half"), phase, Op::Linear(op))?;
        Ok((features, half))
    }

    fn gate(
        &mut self,
        gate: usize,
        stream: TensorId,
        sigma: TensorId,
        features: &GateSource<'_>,
    ) -> Result<(), GraphError> {
        let (features, feature_half) = match features.kept.get(gate) {
            Some(kept) => *kept,
            None => self.features(gate, features.trunk, Phase::Step)?,
        };
        let (_, module) = self.gate_names(gate);
        let (hidden, gate_width) = (self.config.hidden_size, self.config.gate_width());
        let source = format!("{module}.content_proj.weight");
        let recipe = Recipe::Columns { source, start: 0, width: 2 * hidden };
        let weight = self.graph.weight(Weight::new(gate_width, hidden, recipe));
        let op = FeatureGate {
            tokens: self.tokens,
            stream,
            features,
            feature_half,
            level: sigma,
            weight,
            log_slope: vector(&mut self.graph, &format!("{module}.log_alpha"), 1),
            hidden,
            gate_width,
            operand: None,
            emit: None,
        };
        self.graph.push(module, Phase::Step, Op::FeatureGate(op))
    }

    fn text_embed(&mut self, caption: TensorId) -> Result<TensorId, GraphError> {
        let (d, width) = (self.config.hidden_size, self.config.txt_embed_dim);
        let output = self.float("text.embedded", &[self.tokens.batch, self.tokens.text, d], Role::Temporary);
        let op = EmbedRows {
            tokens: self.tokens,
            input: caption,
            output,
            affine: linear(&mut self.graph, "y_embedder.proj", d, width),
            norm: vector(&mut self.graph, "y_embedder.norm.weight", d),
            position: stored(&mut self.graph, "y_pos_embedding", self.config.txt_max_length, d),
            in_features: width,
            out_features: d,
        };
        self.graph.push("y_embedder", Phase::Once, Op::EmbedRows(op))?;
        Ok(output)
    }

    fn patch_block(&self, block: usize) -> PatchBlock<'a> {
        let text_output = self.options.observed || block + 1 < self.config.patch_depth;
        PatchBlock { config: self.config, tokens: self.tokens, block, policy: self.options.precision, text_output }
    }

    /// The image stream after the last patch block, as the pixel blocks read it.
    fn patch_blocks(
        &mut self,
        image: TensorId,
        caption_rows: TensorId,
        sigma: TensorId,
        features: &GateSource<'_>,
    ) -> Result<TensorId, GraphError> {
        let (config, tokens) = (self.config, self.tokens);
        let d = config.hidden_size;
        let s = self.float("patch.stream", &[tokens.batch, tokens.image(), d], Role::Temporary);
        let y = self.float("text.stream", &[tokens.batch, tokens.text, d], Role::Temporary);
        let op = Copy { input: caption_rows, output: y, emit: None };
        self.graph.push("text.restart", Phase::Step, Op::Copy(op))?;
        self.tap(y, "y_embedder");
        self.patch_embed(image, s)?;
        for block in 0..config.patch_depth {
            if block.is_multiple_of(config.lq_interval) {
                self.gate(block / config.lq_interval, s, sigma, features)?;
            }
            self.patch_block(block).build(&mut self.graph, y, s)?;
            self.tap(s, format!("patch_blocks.{block}.0"));
            self.tap(y, format!("patch_blocks.{block}.1"));
        }
        let (vector, hidden) = (constants::TIME_EMBEDDING, self.config.hidden_size);
        let op = AddSilu { tokens: self.tokens, stream: s, vector, hidden, emit: None };
        self.graph.push("time_silu", Phase::Step, Op::AddSilu(op))?;
        if config.pit_lq_inject {
            self.gate(config.num_gates(), s, sigma, features)?;
        }
        Ok(s)
    }

    fn patch_embed(&mut self, image: TensorId, stream: TensorId) -> Result<(), GraphError> {
        let (tokens, hidden, patch) = (self.tokens, self.config.hidden_size, self.config.patch_size);
        let affine = linear(&mut self.graph, "s_embedder.proj", hidden, self.config.in_channels * patch * patch);
        let op = PatchEmbed { tokens, image, stream, affine, patch, hidden, emit: None };
        self.graph.push("s_embedder", Phase::Step, Op::PatchEmbed(op))?;
        self.tap(stream, "s_embedder");
        Ok(())
    }

    /// Names what `tensor` holds now, for observers.
    fn tap(&mut self, tensor: TensorId, name: impl Into<String>) {
        if self.options.observed {
            self.graph.tap(tensor, name);
        }
    }

    fn pixel_blocks(
        &mut self,
        image: TensorId,
        stream: TensorId,
        noise: TensorId,
        velocity: Option<TensorId>,
    ) -> Result<(), GraphError> {
        let (config, tokens) = (self.config, self.tokens.image_only());
        let (patch, channels) = (config.patch_size, config.pixel_hidden_size);
        let pixels = self.temporary("pixels", &[tokens.batch, tokens.image(), patch * patch, channels]);
        let affine = linear(&mut self.graph, "pixel_embedder.proj", channels, config.in_channels);
        let op = PixelEmbed { tokens, image, pixels, affine, patch, channels };
        self.graph.push("pixel_embedder", Phase::Step, Op::PixelEmbed(op))?;
        self.tap(pixels, "pixel_embedder");
        let sample = self.sample_step(pixels, image, noise, velocity);
        for block in 0..config.pixel_depth {
            let last = block + 1 == config.pixel_depth;
            let attended = self.pixel_attention(block, stream, pixels)?;
            if last {
                self.graph.push("noise", Phase::Step, Op::Noise(Noise { output: noise, first_draw: 1 }))?;
            }
            self.pixel_update(block, stream, pixels, attended)?;
            self.tap(pixels, format!("pixel_blocks.{block}"));
        }
        self.graph.push("sample_step", Phase::Step, Op::SampleStep(sample))?;
        self.tap(image, "x");
        if let Some(velocity) = velocity {
            self.tap(velocity, "velocity");
        }
        Ok(())
    }

    /// Pixels modulated, compressed and through the attention: `[B, L, attention width]`.
    fn pixel_attention(&mut self, block: usize, stream: TensorId, pixels: TensorId) -> Result<TensorId, GraphError> {
        let (config, tokens) = (self.config, self.tokens.image_only());
        let (patch, channels, hidden) = (config.patch_size, config.pixel_hidden_size, config.hidden_size);
        let (row, width) = (config.pixel_row(), config.pixel_attn_hidden_size);
        let p = format!("pixel_blocks.{block}");
        let rows = [tokens.batch, tokens.image()];
        let modulated = self.temporary("pixel.modulated", &[rows[0], rows[1], row]);
        let compressed = self.temporary("pixel.compressed", &[rows[0], rows[1], width]);
        let attention = self.options.precision.attention;
        let attended = self.graph.tensor("pixel.attended", &[rows[0], rows[1], width], attention, Role::Temporary);

        let modulation = pixel_slots(&mut self.graph, config, &p, 0, 2);
        let norm = vector(&mut self.graph, &format!("{p}.norm1.weight"), channels);
        let op = PixelModulate { tokens, stream, pixels, output: modulated, modulation, norm, hidden, patch, channels };
        self.graph.push(format!("{p}.modulate"), Phase::Step, Op::PixelModulate(op))?;

        let affine = linear(&mut self.graph, &format!("{p}.compress_to_attn"), width, row);
        let (in_features, out_features) = (row, width);
        let rows = rows[0] * rows[1];
        let op = Linear { rows, input: modulated, output: compressed, affine, in_features, out_features };
        self.graph.push(format!("{p}.compress_to_attn"), Phase::Step, Op::Linear(op))?;

        self.attend(&p, compressed, attended)?;
        Ok(attended)
    }

    fn pixel_update(
        &mut self,
        block: usize,
        stream: TensorId,
        pixels: TensorId,
        attention: TensorId,
    ) -> Result<(), GraphError> {
        let (config, tokens) = (self.config, self.tokens.image_only());
        let p = format!("pixel_blocks.{block}");
        let channels = config.pixel_hidden_size;
        let op = PixelUpdate {
            tokens,
            stream,
            attention,
            pixels,
            modulation: pixel_slots(&mut self.graph, config, &p, 2, 4),
            expand: self.merged_expand(&p),
            norm: vector(&mut self.graph, &format!("{p}.norm2.weight"), channels),
            fc1: linear(&mut self.graph, &format!("{p}.mlp.fc1"), config.pixel_mlp(), channels),
            fc2: linear(&mut self.graph, &format!("{p}.mlp.fc2"), channels, config.pixel_mlp()),
            hidden: config.hidden_size,
            attention_width: config.pixel_attn_hidden_size,
            mlp_width: config.pixel_mlp(),
            patch: config.patch_size,
            channels,
            sample: None,
        };
        self.graph.push(format!("{p}.update"), Phase::Step, Op::PixelUpdate(op))
    }

    fn attend(&mut self, p: &str, input: TensorId, output: TensorId) -> Result<(), GraphError> {
        let (config, tokens) = (self.config, self.tokens.image_only());
        let (heads, head_dim) = (config.pixel_num_groups, config.pixel_head_dim());
        let width = config.pixel_attn_hidden_size;
        let shape = [tokens.batch, heads, tokens.image(), head_dim];
        let attention = self.options.precision.attention;
        let [q, k, v] =
            ["pixel.q", "pixel.k", "pixel.v"].map(|name| self.graph.tensor(name, &shape, attention, Role::Temporary));
        let reference_rows = config.rope_ref_h / config.patch_size;
        let reference_cols = config.rope_ref_w / config.patch_size;
        let stream = QkvStream {
            stream: Stream::Image,
            input,
            sums: None,
            norm: None,
            weight: stored(&mut self.graph, &format!("{p}.attn.qkv.weight"), 3 * width, width),
            q_norm: vector(&mut self.graph, &format!("{p}.attn.q_norm.weight"), head_dim),
            k_norm: vector(&mut self.graph, &format!("{p}.attn.k_norm.weight"), head_dim),
            rotary: Rotary::Image { reference_rows, reference_cols },
        };
        let op =
            QkvProject { tokens, streams: vec![stream], q, k, v, in_features: width, heads, kv_heads: heads, head_dim };
        self.graph.push(format!("{p}.attn.qkv"), Phase::Step, Op::QkvProject(op))?;
        let op = Attention::of_all([q, k, v], output, tokens, [heads, head_dim], 0);
        self.graph.push(format!("{p}.attn"), Phase::Step, Op::Attention(op))
    }

    /// `expand(proj(x)) = (We Wp) x + (We bp + be)`.
    fn merged_expand(&mut self, p: &str) -> Affine {
        let (row, width) = (self.config.pixel_row(), self.config.pixel_attn_hidden_size);
        let left = format!("{p}.expand_from_attn.weight");
        let right = format!("{p}.attn.proj.weight");
        let recipe = Recipe::Product { left: left.clone(), right, inner: width };
        let weight = self.graph.weight(Weight::new(row, width, recipe));
        let (right, add) = (format!("{p}.attn.proj.bias"), format!("{p}.expand_from_attn.bias"));
        let recipe = Recipe::ProductBias { left, right, add, inner: width };
        let bias = self.graph.weight(Weight::new(1, row, recipe));
        Affine { weight, bias: Some(bias) }
    }

    fn sample_step(
        &mut self,
        pixels: TensorId,
        image: TensorId,
        noise: TensorId,
        velocity: Option<TensorId>,
    ) -> SampleStep {
        let (patch, channels) = (self.config.patch_size, self.config.pixel_hidden_size);
        let norm = vector(&mut self.graph, "final_layer.norm.weight", channels);
        let affine = linear(&mut self.graph, "final_layer.linear", self.config.in_channels, channels);
        let tokens = self.tokens.image_only();
        SampleStep { tokens, pixels, image, noise, velocity, norm, affine, patch, channels }
    }
}

/// What follows a convolution.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Silu,
    Accumulate,
}
