//! Embedding the engine: load once, decode many, from several threads.
//!
//! `cargo run --release --example embed` makes its own synthetic checkpoint; a real program opens a file
//! with `Decoder::builder().open(path)`.

use pid_engine::checkpoint::{Checkpoint, synthetic};
use pid_engine::latent::{Caption, Latent, Sigma};
use pid_engine::models::pid::Config;
use pid_engine::progress::NoProgress;
use pid_engine::sampler::NoiseSource;
use pid_engine::{Decoder, Error, Request};

fn main() -> Result<(), Error> {
    let config = Config::tiny();
    let checkpoint = Checkpoint::synthetic(&config, 0, &NoProgress);
    let decoder = Decoder::builder().config(config.clone()).build(checkpoint)?;

    let shape = [1, config.lq_latent_channels, 4, 4];
    let latent = Latent::new(synthetic::latent(&shape, 0), shape)?;
    let shape = [1, config.txt_max_length, config.txt_embed_dim];
    let caption = Caption::new(synthetic::caption(&shape, 0), shape)?;

    // The decoder is shared by reference; each decode has its own memory.
    let pictures = std::thread::scope(|scope| {
        let decodes: Vec<_> = (0..2)
            .map(|seed| {
                let request = Request {
                    sigma: Sigma::new(vec![0.25])?,
                    noise: NoiseSource::Philox { seed },
                    ..Request::new(caption.clone())
                };
                let (decoder, latent) = (&decoder, &latent);
                Ok(scope.spawn(move || decoder.decode(latent, &request)))
            })
            .collect::<Result<_, Error>>()?;
        decodes.into_iter().map(|d| d.join().expect("a decode returns its errors")).collect::<Result<Vec<_>, Error>>()
    })?;
    for decoded in &pictures {
        let picture = &decoded.picture;
        println!("{} x 3 x {} x {}, first value {:.4}", picture.batch, picture.height, picture.width, picture.data[0]);
    }
    Ok(())
}
