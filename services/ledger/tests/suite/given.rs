//! What costs nothing: answers that nobody was asked for.

use std::sync::Arc;

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Inference, Result,
    chat::Reuse,
    embed::{Embed, EmbedRequest, Embeddings},
    inference::Model,
};
use frontdesk_ledger::{Given, Metered};
use frontdesk_store::{
    Store,
    testing::{each_database, two_tenants},
};
use futures::StreamExt as _;

use crate::{Up, counted, ledger, metered, passed_on, read, row, rows, total};

/// Stands where a layer stands that keeps answers: gives the first one away that it asked for, again and again.
struct Keeps {
    metered: Metered,
    reuse: Reuse,
}

#[async_trait]
impl Inference for Keeps {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        if request.wants_usage {
            let mut reply = self.metered.chat(cx, request).await?;
            reply.head.reuse = Some(Reuse::Miss);
            return Ok(reply);
        }
        let up = Up { streaming: true, frames: || vec![], others: Vec::new, ends: true };
        let mut head = up.chat(cx, request).await?.head;
        head.reuse = Some(self.reuse);
        Ok(ChatReply { head, frames: futures::stream::iter([Ok(counted(100, 10))]).boxed() })
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        if request.model == "up/priced" {
            let reply = self.metered.embed(cx, request).await?;
            return Ok(Embeddings { reuse: Some(Reuse::Miss), ..reply });
        }
        let up = Up { streaming: true, frames: Vec::new, others: Vec::new, ends: true };
        Ok(Embeddings { reuse: Some(self.reuse), ..up.embed(cx, request).await? })
    }
}

#[tokio::test]
async fn what_was_kept_or_shared_is_in_the_books_and_costs_nothing() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        for (cx, reuse, status) in [(a, Reuse::Hit, "hit"), (b, Reuse::Shared, "shared")] {
            let books = ledger(&store).await;
            let up = Up { streaming: true, frames: || vec![Ok(counted(100, 10))], others: Vec::new, ends: true };
            let given = Given::new(Arc::new(Keeps { metered: metered(&books, up), reuse }), books.clone());
            let mut asked = passed_on("up/priced");
            asked.wants_usage = true;
            for request in [asked, passed_on("up/priced"), passed_on("up/unpriced")] {
                read(given.chat(&cx, request).await.expect("an answer")).await;
            }
            // 100 × 2 + 10 × 8 millionths of a dollar, once.
            let want = [
                row("ok", false, "up/priced", 100, 10, Some(280_000)),
                row(status, false, "up/priced", 0, 0, Some(0)),
                row(status, false, "up/unpriced", 0, 0, Some(0)),
            ];
            let mut found = rows(&books, &store, &cx).await;
            found.sort_by(|a, b| (a.status != "ok", &a.model).cmp(&(b.status != "ok", &b.model)));
            assert_eq!(found, want);
            let sum = total(&books, &cx).await;
            assert_eq!((sum.requests, sum.reused, sum.failed, sum.unpriced), (3, 2, 0, 0));
            assert_eq!((sum.cost, sum.input_tokens, sum.output_tokens), (Some(280_000), 100, 10));
            books.close().await;
            let outstanding = store.tenant(&cx).outstanding().await.expect("read");
            assert_eq!((outstanding.reserved, outstanding.lost), (0, 0), "nothing is set aside for it");
        }
    })
    .await;
}

#[tokio::test]
async fn a_given_answer_is_booked_when_it_has_ended_or_is_let_go_of() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = Up { streaming: true, frames: Vec::new, others: Vec::new, ends: true };
        let given = Given::new(Arc::new(Keeps { metered: metered(&books, up), reuse: Reuse::Shared }), books.clone());
        let mut heard = given.chat(&a, passed_on("up/priced")).await.expect("an answer").frames;
        let left = given.chat(&a, passed_on("up/unpriced")).await.expect("an answer").frames;
        heard.next().await.expect("a frame").expect("a good one");
        assert_eq!(rows(&books, &store, &a).await, [], "both are under way");
        assert!(heard.next().await.is_none());
        let want =
            [row("shared", false, "up/priced", 0, 0, Some(0)), row("shared", false, "up/unpriced", 0, 0, Some(0))];
        assert_eq!(rows(&books, &store, &a).await, want[..1]);
        drop(left);
        assert_eq!(rows(&books, &store, &a).await, want);
        drop(heard);
        assert_eq!(rows(&books, &store, &a).await, want, "once");
    })
    .await;
}

#[tokio::test]
async fn vectors_that_were_kept_are_in_the_books_and_cost_nothing() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = Up { streaming: true, frames: Vec::new, others: Vec::new, ends: true };
        let given = Given::new(Arc::new(Keeps { metered: metered(&books, up), reuse: Reuse::Hit }), books.clone());
        for model in ["up/priced", "up/unpriced"] {
            given.embed(&a, EmbedRequest::typed(model, Embed::default())).await.expect("vectors");
        }
        let want = [row("ok", false, "up/priced", 5, 0, Some(10_000)), row("hit", false, "up/unpriced", 0, 0, Some(0))];
        assert_eq!(rows(&books, &store, &a).await, want);
    })
    .await;
}
