//! Names and shapes of a checkpoint's tensors, spelled as in the public code.

use super::config::Config;
use crate::models::TensorSpec;

/// Tensors that decoding does not use but released checkpoints may hold: never missing, never unexpected.
pub const TRAINING_ONLY: &[&str] = &["lq_proj.lq_aux_rgb_head.", "_repa_projector."];

struct Specs(Vec<TensorSpec>);

impl Specs {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push(TensorSpec { name: name.into(), shape: shape.to_vec() });
    }

    fn linear(&mut self, name: &str, out: usize, input: usize) {
        self.add(format!("{name}.weight"), &[out, input]);
        self.add(format!("{name}.bias"), &[out]);
    }

    fn conv(&mut self, name: &str, out: usize, input: usize) {
        self.add(format!("{name}.weight"), &[out, input, 3, 3]);
        self.add(format!("{name}.bias"), &[out]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
    }

    fn gate(&mut self, name: &str, hidden: usize, width: usize) {
        self.linear(&format!("{name}.content_proj"), width, 2 * hidden);
        self.add(format!("{name}.log_alpha"), &[]);
    }
}

/// Every tensor the network of `config` needs, in the order of computation.
pub fn tensors(config: &Config) -> Vec<TensorSpec> {
    let d = config.hidden_size;
    let mut s = Specs(Vec::new());
    s.linear("t_embedder.mlp.0", d, 256);
    s.linear("t_embedder.mlp.2", d, d);
    s.linear("y_embedder.proj", d, config.txt_embed_dim);
    s.norm("y_embedder.norm", d);
    s.add("y_pos_embedding", &[1, config.txt_max_length, d]);
    s.linear("s_embedder.proj", d, config.in_channels * config.patch_size * config.patch_size);
    adapter(&mut s, config);
    for block in 0..config.patch_depth {
        patch_block(&mut s, config, block);
    }
    s.linear("pixel_embedder.proj", config.pixel_hidden_size, config.in_channels);
    for block in 0..config.pixel_depth {
        pixel_block(&mut s, config, block);
    }
    s.norm("final_layer.norm", config.pixel_hidden_size);
    s.linear("final_layer.linear", config.in_channels, config.pixel_hidden_size);
    s.0
}

fn adapter(s: &mut Specs, config: &Config) {
    let (d, hid) = (config.hidden_size, config.lq_hidden_dim);
    s.conv("lq_proj.latent_proj.0", hid, config.adapter_channels());
    s.conv("lq_proj.latent_proj.2", hid, hid);
    for i in 0..config.lq_num_res_blocks {
        let block = format!("lq_proj.latent_proj.{}.block", i + 3);
        for (norm, conv) in [(0, 2), (3, 5)] {
            s.norm(&format!("{block}.{norm}"), hid);
            s.add(format!("{block}.{norm}.bias"), &[hid]);
            s.conv(&format!("{block}.{conv}"), hid, hid);
        }
    }
    for g in 0..config.num_gates() {
        s.linear(&format!("lq_proj.output_heads.{g}"), d, hid);
        s.gate(&format!("lq_proj.gate_modules.{g}"), d, config.gate_width());
    }
    if config.pit_lq_inject {
        s.linear("lq_proj.pit_head", d, hid);
        s.gate("pit_lq_gate", d, config.gate_width());
    }
}

fn patch_block(s: &mut Specs, config: &Config, block: usize) {
    let (d, inner) = (config.hidden_size, config.ffn_inner());
    let p = format!("patch_blocks.{block}");
    for (stream, modality) in [("x", "img"), ("y", "txt")] {
        s.linear(&format!("{p}.adaLN_modulation_{modality}.0"), 6 * d, d);
        s.norm(&format!("{p}.norm_{stream}1"), d);
        s.norm(&format!("{p}.norm_{stream}2"), d);
        s.add(format!("{p}.attn.qkv_{stream}.weight"), &[3 * d, d]);
        s.norm(&format!("{p}.attn.q_norm_{stream}"), config.head_dim());
        s.norm(&format!("{p}.attn.k_norm_{stream}"), config.head_dim());
        s.linear(&format!("{p}.attn.proj_{stream}"), d, d);
        s.add(format!("{p}.mlp_{stream}.w1.weight"), &[inner, d]);
        s.add(format!("{p}.mlp_{stream}.w2.weight"), &[d, inner]);
        s.add(format!("{p}.mlp_{stream}.w3.weight"), &[inner, d]);
    }
}

fn pixel_block(s: &mut Specs, config: &Config, block: usize) {
    let (c, attn, mlp) = (config.pixel_hidden_size, config.pixel_attn_hidden_size, config.pixel_mlp());
    let p = format!("pixel_blocks.{block}");
    s.linear(&format!("{p}.adaLN_modulation.0"), 6 * config.pixel_row(), config.hidden_size);
    s.norm(&format!("{p}.norm1"), c);
    s.norm(&format!("{p}.norm2"), c);
    s.linear(&format!("{p}.compress_to_attn"), attn, config.pixel_row());
    s.add(format!("{p}.attn.qkv.weight"), &[3 * attn, attn]);
    s.norm(&format!("{p}.attn.q_norm"), config.pixel_head_dim());
    s.norm(&format!("{p}.attn.k_norm"), config.pixel_head_dim());
    s.linear(&format!("{p}.attn.proj"), attn, attn);
    s.linear(&format!("{p}.expand_from_attn"), config.pixel_row(), attn);
    s.linear(&format!("{p}.mlp.fc1"), mlp, c);
    s.linear(&format!("{p}.mlp.fc2"), c, mlp);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(name: &str) -> usize {
        let config = Config::by_name(name).expect("a known name");
        tensors(&config).iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }

    /// The totals that the public code reports for its networks.
    #[test]
    fn parameter_totals() {
        assert_eq!((parameters("flux-2k") + 50_000) / 100_000, 13_623);
        assert_eq!((parameters("flux-v1.5") + 50_000) / 100_000, 14_002);
    }
}
