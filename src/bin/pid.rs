//! The `pid` command; everything is in `pid_engine::cli`.

fn main() -> std::process::ExitCode {
    pid_engine::cli::main(std::env::args_os())
}
