//! A compiled tool component: what it asks for, what it offers, and its links.
//!
//! Invariant: a component is named by the BLAKE3 hash of the very bytes it was compiled from, and what it
//! described at that moment stays what it is; a changed description needs changed bytes.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{
    Engine,
    component::{Component as Code, ComponentExportIndex, InstancePre},
};

use crate::{
    capability::{Capabilities, Capability, TOOLS},
    described::{Described, Keep},
    fault::Fault,
    host::{State, linker},
};

/// An inspected component, ready to be called. Cheap to clone; the machine code lives as long as a clone.
#[derive(Clone, Debug)]
pub struct Component(pub(crate) Arc<Inspected>);

#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) compiled: Compiled,
    tools: Vec<Described>,
}

impl Component {
    pub(crate) fn new(compiled: Compiled, tools: Vec<Described>) -> Self {
        Self(Arc::new(Inspected { compiled, tools }))
    }

    /// BLAKE3 of the bytes.
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        self.0.compiled.hash
    }

    /// The capabilities it asks for.
    #[must_use]
    pub fn requests(&self) -> Capabilities {
        let imports = self.0.compiled.imports;
        let keeps = self.tools().iter().any(|tool| tool.keep == Keep::Conversation);
        if keeps { imports.with(Capability::Keep) } else { imports }
    }

    /// In the component's own order.
    #[must_use]
    pub fn tools(&self) -> &[Described] {
        &self.0.tools
    }

    /// # Errors
    /// [`Fault::UnknownTool`]
    pub fn tool(&self, name: &str) -> Result<&Described, Fault> {
        let found = self.0.tools.iter().find(|t| t.name == name);
        found.ok_or_else(|| Fault::UnknownTool(name.chars().take(64).flat_map(char::escape_default).collect()))
    }
}

/// Machine code that nobody has asked anything yet.
pub(crate) struct Compiled {
    pub(crate) hash: blake3::Hash,
    pub(crate) imports: Capabilities,
    pub(crate) describe: ComponentExportIndex,
    pub(crate) call: ComponentExportIndex,
    code: Code,
    /// The links for each set of grants met so far; there are 256 sets.
    linked: Mutex<Vec<(Capabilities, InstancePre<State>)>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("hash", &self.hash).field("imports", &self.imports).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Looks at code for what a tool must have.
    pub(crate) fn of(engine: &Engine, hash: blake3::Hash, code: Code) -> Result<Self, Fault> {
        let ty = code.component_type();
        let imports = Capabilities::of_imports(ty.imports(engine).map(|(name, _)| name))?;
        let export = |name: &str| {
            let tools = code.get_export_index(None, TOOLS);
            let found = tools.and_then(|tools| code.get_export_index(Some(&tools), name));
            found.ok_or_else(|| Fault::NotATool(format!("it does not export '{name}' of '{TOOLS}'")))
        };
        let (describe, call) = (export("describe")?, export("call")?);
        Ok(Self { hash, imports, describe, call, code, linked: Mutex::default() })
    }

    /// The component with the granted interfaces linked, and no other.
    ///
    /// # Errors
    /// [`Fault::NotGranted`], or [`Fault::NotATool`] where an import has another shape than ours.
    pub(crate) fn link(&self, granted: Capabilities) -> Result<InstancePre<State>, Fault> {
        if let Some(missing) = self.imports.first_missing_in(granted) {
            return Err(Fault::NotGranted(missing));
        }
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pre)) = linked.iter().find(|(with, _)| *with == granted) {
            return Ok(pre.clone());
        }
        let refused = |e: wasmtime::Error| Fault::NotATool(reason(&e));
        let pre = linker(&self.code, granted).map_err(refused)?.instantiate_pre(&self.code).map_err(refused)?;
        linked.push((granted, pre.clone()));
        Ok(pre)
    }
}

/// wasmtime's words on one line, from the outermost to the cause, at most 400 bytes.
pub(crate) fn reason(error: &wasmtime::Error) -> String {
    let line = crate::log::one_line(&format!("{error:#}"));
    line[..line.floor_char_boundary(400)].to_owned()
}
