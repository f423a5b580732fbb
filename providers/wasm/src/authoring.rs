//! What an author's own machine needs of the sandbox: the world to write against, the last step from a core module to a
//! component, and a look at which powers a component asks for.
//!
//! Invariant: nothing here runs a guest or makes machine code of it; what is said of a component before it is pushed is
//! read from the same imports that its registration reads.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::{
    admission,
    capability::{Capabilities, TOOLS},
    fault::Fault,
    limits::Limits,
    log::one_line,
};

/// The files of the package `frontdesk:tool`, by name. The first says which package it is.
pub const WIT: [(&str, &str); 3] = [
    ("tool.wit", include_str!("../wit/tool.wit")),
    ("fetch.wit", include_str!("../wit/fetch.wit")),
    ("context.wit", include_str!("../wit/context.wit")),
];

/// A component out of a core module that carries the description of its world, as `wit-bindgen` leaves it.
///
/// # Errors
/// [`Fault::NotAComponent`] saying what does not fit: an import that its world does not have, an export that is missing.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Fault> {
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(ComponentEncoder::encode);
    encoded.map_err(|e| Fault::NotAComponent(one_line(&format!("{e:#}"))))
}

/// The powers that a component asks for.
///
/// # Errors
/// [`Fault::NotAComponent`], [`Fault::NotATool`] for a foreign import or where it does not export the tools, and the
/// limits of its parts, as at registration.
pub fn powers(component: &[u8], limits: &Limits) -> Result<Capabilities, Fault> {
    admission::check(component, limits)?;
    let malformed = |e: wasmparser::BinaryReaderError| Fault::NotAComponent(e.to_string());
    let (mut depth, mut imports, mut is_tool) = (0, vec![], false);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(malformed)?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    is_tool |= export.map_err(malformed)?.name.name == TOOLS;
                }
            }
            _ => {}
        }
    }
    let powers = Capabilities::of_imports(imports)?;
    if is_tool { Ok(powers) } else { Err(Fault::NotATool(format!("it does not export '{TOOLS}'"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        powers(&wat::parse_str(text).unwrap(), &Limits::default()).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_tool_is_named() {
        assert!(refusal("(module)").contains("the bytes are a core module"));
        assert!(refusal("(component)").contains("it does not export 'frontdesk:tool/tools@0.1.0'"));
        let foreign = r#"(component (import "wasi:http/types@0.2.0" (instance)))"#;
        assert!(refusal(foreign).contains("it imports 'wasi:http/types@0.2.0'; what a tool may import is"));
        // An import of a part inside is that part's own.
        let inner = format!(
            r#"(component {} (component (import "x" (instance))))"#,
            r#"(instance $i) (export "frontdesk:tool/tools@0.1.0" (instance $i))"#
        );
        assert_eq!(powers(&wat::parse_str(inner).unwrap(), &Limits::default()).unwrap(), Capabilities::NONE);
    }

    #[test]
    fn a_module_that_speaks_of_no_world_is_no_tool() {
        let module = wat::parse_str("(module (import \"env\" \"f\" (func)))").unwrap();
        assert!(matches!(encode(&module), Err(Fault::NotAComponent(_))));
        assert!(matches!(encode(b"hello"), Err(Fault::NotAComponent(_))));
    }
}
