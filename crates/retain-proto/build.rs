//! Compiles `proto/` with protox, so that no `protoc` is needed. Everything is written to `OUT_DIR`; the source tree may be read-only.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const FILES: [&str; 5] = [
    "retain/v1/types.proto",
    "retain/v1/prediction.proto",
    "retain/v1/decision.proto",
    "retain/v1/model.proto",
    "inference/open_inference.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed=build.rs");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("retain_descriptor.bin"), compiler.encode_file_descriptor_set())?;

    // Ordered maps: the features of a request are walked in one order on every machine.
    tonic_prost_build::configure().btree_map(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
