//! A look at a component's structure before any code is made of it.
//!
//! Compiling is the one step the engine's authors do not promise to bound, so what is too large or no
//! component at all is turned away here, in one pass, with the limit named. Types are validated by the
//! compiler afterwards. Invariant: nothing is compiled that this has not let through.

use wasmparser::{Encoding, Parser, Payload};

use crate::{
    fault::Fault,
    limits::{Limit, Limits},
};

/// wasm memories are counted in pages of this many bytes.
const PAGE: u64 = 64 << 10;

/// # Errors
/// [`Fault::NotAComponent`] saying what the bytes are instead, or [`Fault::Limit`].
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
    let over = |limit| Err(Fault::Limit(limits.exceeded(limit)));
    if bytes.len() > limits.component_bytes {
        return over(Limit::ComponentSize);
    }
    let (mut depth, mut imports, mut memories, mut memory, mut tables, mut elements) = (0, 0, 0, 0u64, 0, 0u64);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(Fault::NotAComponent("the bytes are a core module".into()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => imports += section.count() as usize,
            Payload::MemorySection(section) => {
                for ty in section {
                    memories += 1;
                    memory = memory.saturating_add(ty.map_err(malformed)?.initial.saturating_mul(PAGE));
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    tables += 1;
                    elements = elements.saturating_add(table.map_err(malformed)?.ty.initial);
                }
            }
            _ => {}
        }
    }
    if imports > limits.imports {
        return over(Limit::Imports);
    }
    if memories > limits.memories {
        return over(Limit::Memories);
    }
    if memory > limits.memory as u64 {
        return over(Limit::Memory);
    }
    if tables > limits.tables {
        return over(Limit::Tables);
    }
    if elements > limits.table_elements as u64 {
        return over(Limit::Table);
    }
    Ok(())
}

fn malformed(error: wasmparser::BinaryReaderError) -> Fault {
    Fault::NotAComponent(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        check(bytes, &Limits::default()).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert!(refusal(b"hello").starts_with("not a WebAssembly component: "));
        assert!(refusal(b"").starts_with("not a WebAssembly component: "));
        let module = wat::parse_str("(module)").unwrap();
        assert_eq!(refusal(&module), "not a WebAssembly component: the bytes are a core module");
        let component = wat::parse_str("(component (core module (func)))").unwrap();
        assert!(check(&component, &Limits::default()).is_ok());
        let cut = &component[..component.len() - 1];
        assert!(refusal(cut).starts_with("not a WebAssembly component: "));
    }

    #[test]
    fn each_oversized_part_is_named() {
        let many = |part: &str, n: usize| format!("(component {})", part.repeat(n));
        let cases = [
            ("(component (core module (memory 60000)))".to_owned(), "memory limit of 67108864 bytes"),
            // Shared out over modules it is just as much.
            (many("(core module (memory 400))", 3), "memory limit of 67108864 bytes"),
            (many("(core module (memory 1))", 200), "memories limit of 4"),
            ("(component (core module (table 10000000 funcref)))".to_owned(), "table limit of 20000 elements"),
            (many("(core module (table 1 funcref))", 9), "tables limit of 4"),
            (
                format!("(component {})", (0..5000).map(|i| format!("(import \"a{i}\" (func))")).collect::<String>()),
                "imports limit of 64",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(&wat::parse_str(&text).unwrap()), format!("the tool exceeded its {expected}"));
        }
        let large = vec![0; Limits::default().component_bytes + 1];
        assert_eq!(refusal(&large), "the tool exceeded its component size limit of 33554432 bytes");
    }
}
