//! A look at a component's structure before any code is made of it.
//!
//! Compiling is the one step the engine's authors do not promise to bound, so what is too large or no
//! component at all is turned away here, in one pass, with the limit named. Types are validated by the
//! compiler afterwards. Invariant: nothing is compiled that this has not let through.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding, Instance, Parser,
    Payload,
};

use crate::{
    fault::Fault,
    limits::{Limit, Limits},
};

/// wasm memories are counted in pages of this many bytes.
const PAGE: u64 = 64 << 10;

/// What one component, or a module in it, comes to.
#[derive(Default)]
struct Part {
    /// Modules that it instantiates, those of components that it instantiates among them.
    instances: u64,
    /// How many each component that it can instantiate comes to, by its index; none of one that comes from elsewhere.
    components: Vec<u64>,
    is_component: bool,
}

/// # Errors
/// [`Fault::NotAComponent`] saying what the bytes are instead, or [`Fault::Limit`].
pub(crate) fn check(bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
    let over = |limit| Err(Fault::Limit(limits.exceeded(limit)));
    if bytes.len() > limits.component_bytes {
        return over(Limit::ComponentSize);
    }
    let (mut imports, mut memories, mut memory, mut tables, mut elements) = (0, 0, 0u64, 0, 0u64);
    // From the component itself to the part that is read, and what the component came to.
    let (mut parts, mut instances): (Vec<Part>, u64) = (vec![], 0);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if parts.is_empty() => {
                return Err(Fault::NotAComponent("the bytes are a core module".into()));
            }
            Payload::Version { encoding, .. } => {
                parts.push(Part { is_component: encoding == Encoding::Component, ..Part::default() });
            }
            Payload::End(_) => {
                let Some(done) = parts.pop() else { continue };
                match parts.last_mut() {
                    Some(around) if done.is_component => around.components.push(done.instances),
                    Some(_) => {}
                    None => instances = done.instances,
                }
            }
            Payload::ComponentImportSection(section) => {
                if parts.len() == 1 {
                    imports += section.count() as usize;
                }
                for import in section {
                    if import.map_err(malformed)?.ty.kind() == ComponentExternalKind::Component {
                        named(&mut parts, 0);
                    }
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { .. } = instance.map_err(malformed)? {
                        add(&mut parts, 1);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance.map_err(malformed)? {
                        let inside = component(&parts, 0, component_index);
                        add(&mut parts, inside);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.map_err(malformed)? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            let inside = component(&parts, count, index);
                            named(&mut parts, inside);
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            named(&mut parts, 0);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    if export.kind == ComponentExternalKind::Component {
                        let inside = component(&parts, 0, export.index);
                        named(&mut parts, inside);
                    }
                }
            }
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
    if instances > limits.instances.into() {
        return over(Limit::Instances);
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

fn add(parts: &mut [Part], instances: u64) {
    if let Some(part) = parts.last_mut() {
        part.instances = part.instances.saturating_add(instances);
    }
}

/// A component has the next index of the part that is read.
fn named(parts: &mut [Part], instances: u64) {
    if let Some(part) = parts.last_mut() {
        part.components.push(instances);
    }
}

/// What the component of that index comes to, `out` parts outwards.
fn component(parts: &[Part], out: u32, index: u32) -> u64 {
    let part = parts.iter().rev().nth(out as usize);
    part.and_then(|part| part.components.get(index as usize)).copied().unwrap_or(0)
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
            (
                format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(65)),
                "instances limit of 64",
            ),
            // Few by themselves, many together.
            (
                format!(
                    "(component (component $c (core module $m) {}) {})",
                    "(core instance (instantiate $m))".repeat(13),
                    "(instance (instantiate $c))".repeat(5)
                ),
                "instances limit of 64",
            ),
            // By a name from further out, and by one more.
            (
                format!(
                    "(component (component $c (core module $m) {}) (component $d (alias outer 1 $c (component $e)) {})
                       (export $x \"x\" (component $d)) (instance (instantiate $x)))",
                    "(core instance (instantiate $m))".repeat(33),
                    "(instance (instantiate $e))".repeat(2)
                ),
                "instances limit of 64",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(&wat::parse_str(&text).unwrap()), format!("the tool exceeded its {expected}"));
        }
        let most = format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(64));
        assert!(check(&wat::parse_str(&most).unwrap(), &Limits::default()).is_ok());
        let large = vec![0; Limits::default().component_bytes + 1];
        assert_eq!(refusal(&large), "the tool exceeded its component size limit of 33554432 bytes");
    }
}
