//! Gathers the lists of routes into what serves them, what guards them and, where asked for, what documents them.
//!
//! Invariant: of a route that is only served nothing of its documentation is left, and at no time that of two: all of it
//! at once is 11 MiB of private memory, which a process that was never asked for `/openapi.json` would begin with.

use axum::Router;
use frontdesk_api::Scope;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{app::App, auth::Gates};

/// Routes as far as they are gathered.
pub struct Collected {
    pub router: Router<App>,
    /// Which key each route asks for.
    pub gates: Gates,
    /// Templates, as they are routed.
    pub paths: Vec<String>,
    /// None: it was not asked for.
    pub document: Option<OpenApi>,
    scope: Option<Scope>,
}

impl Collected {
    /// Nothing yet.
    pub fn served() -> Self {
        Self { router: Router::new(), gates: Gates::default(), paths: vec![], document: None, scope: None }
    }

    /// Nothing yet; what comes is documented too.
    pub fn documented() -> Self {
        Self { document: Some(OpenApi::default()), ..Self::served() }
    }

    /// Routes from here on ask for a key that holds `scope`; None: for no key.
    pub fn asking(self, scope: Option<Scope>) -> Self {
        Self { scope, ..self }
    }

    /// Adds what `routes!` made.
    pub fn routes(mut self, these: UtoipaMethodRouter<App>) -> Self {
        let (router, document) = OpenApiRouter::new().routes(these).split_for_parts();
        self.gates.put(&document.paths, self.scope);
        self.paths.extend(document.paths.paths.keys().cloned());
        self.router = self.router.merge(router);
        if let Some(all) = &mut self.document {
            let (known, new) = (all.components.get_or_insert_default(), document.components.iter());
            for (name, schema) in new.flat_map(|new| &new.schemas) {
                let same = known.schemas.get(name).is_none_or(|known| known == schema);
                debug_assert!(same, "two schemas are called {name}: the document could only show one");
            }
            all.merge(document);
        }
        self
    }
}
