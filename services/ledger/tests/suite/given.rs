//! What costs nothing: answers that nobody was asked for.

use std::sync::Arc;

use async_trait::async_trait;
use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, Result, chat::Reuse, inference::Model};
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
