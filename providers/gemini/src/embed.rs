//! Texts to vectors, in as many calls as Google's limits make of a request.

use bytes::Bytes;
use frontdesk_api::{
    Cx, Result,
    embed::{EmbedRequest, Embeddings},
};
use frontdesk_http::{Call, Part};
use frontdesk_wire::gemini::embeddings::{Way, decode};
use http::Method;

use crate::Gemini;

impl Gemini {
    pub(crate) async fn vectors_of(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let embed = request.embed()?;
        let texts = embed.texts()?;
        let model = self.place.model(&request.model)?;
        let way = Way::of(&model, self.place.is_vertex(), embed)?;
        let call = |texts| -> Call<'_> { Box::pin(self.call(cx, &model, &way, texts)) };
        let calls = way.calls(&texts).into_iter().map(call).collect();
        self.upstream.embeddings(request.model.clone(), calls).await
    }

    async fn call(&self, cx: &Cx, model: &str, way: &Way<'_>, texts: &[&str]) -> Result<Part> {
        let uri = self.place.uri(&format!("{model}:{}", way.method(texts.len())))?;
        let body = Bytes::from(way.body(texts).to_string());
        let said = self.fetch(cx, Method::POST, &uri, body).await?;
        let read = decode(&said).map_err(|e| self.upstream.no_embeddings(&e.to_string()))?;
        self.upstream.part(read, texts.len())
    }
}
