//! A load balancer: TCP or HTTP/1.1, with health checks; see `--help`.

mod config;
mod events;
mod flags;
mod run;

use std::io::Write;
use std::process::ExitCode;

use ha_examples::cli::{self, FAILURE, USAGE};

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = match flags::read(std::env::args_os()) {
        Ok(flags::Answer::Settings(settings)) => settings,
        Ok(flags::Answer::Text(text)) => {
            let printed = std::io::stdout().write_all(text.as_bytes());
            return printed.map_or(ExitCode::from(FAILURE), |()| ExitCode::SUCCESS);
        }
        Err(error) => return cli::fail(USAGE, &error.to_string()),
    };
    match run::run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(FAILURE, &error.to_string()),
    }
}
