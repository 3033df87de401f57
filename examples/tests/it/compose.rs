//! An application composed from outside: the README's snippet, as a crate of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The fenced block that follows `<!-- MARK -->` in the README.
fn block(readme: &str, mark: &str, language: &str) -> String {
    let after = readme.split(&format!("<!-- {mark} -->")).nth(1).expect("the mark");
    let code = after.split(&format!("```{language}\n")).nth(1).expect("the block");
    code.split("```").next().expect("its end").to_owned()
}

#[test]
fn the_readmes_application_builds_from_outside_and_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let dependencies = block(&readme, "dependencies", "toml");
    let code = block(&readme, "compose", "rust,no_run");

    // As a user would write it, but with the crates of this tree.
    let lines = dependencies.lines().map(|line| match line.split_once(" = \"0.1\"") {
        Some((name, "")) => {
            format!("{name} = {{ path = {:?} }}\n", root.join(name).display().to_string())
        }
        _ => format!("{line}\n"),
    });
    let head = "[package]\nname = \"composed\"\nedition = \"2024\"\n\n";
    let manifest: String = std::iter::once(head.to_owned())
        .chain(lines)
        .chain(["\n[workspace]\n".to_owned()])
        .collect();

    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("written");
    fs::write(folder.path().join("src/main.rs"), code).expect("written");
    // The versions that this workspace was tested with, so that nothing needs to be fetched.
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("copied");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", root.join("target/composed"))
        .output()
        .expect("cargo runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("served by"), "{stdout}");
}
