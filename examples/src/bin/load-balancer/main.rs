//! A load balancer: TCP or HTTP/1.1, with health checks; see `--help`.

mod config;
mod events;
mod flags;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = match flags::read(std::env::args_os()) {
        Ok(flags::Answer::Settings(settings)) => settings,
        Ok(flags::Answer::Text(text)) => {
            events::print_text(&text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match run::run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// One line, whatever the error quotes.
fn complain(error: &dyn std::error::Error) {
    let line: String =
        error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    eprintln!("load-balancer: {line}");
}
