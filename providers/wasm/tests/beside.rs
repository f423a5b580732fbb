//! Attacks while honest calls run beside them in the same sandbox: which limit ended each, and that nobody else noticed.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::sync::Arc;

use common::{
    bombs::{self, Attack},
    call, inspect,
};
use frontdesk_wasm::{Component, Fault, Sandbox};

/// Three calls, one after the other, each answered and none changed by what runs beside it.
async fn three(sandbox: &Sandbox, honest: &Component) {
    for _ in 0..3 {
        let call = call(sandbox, honest).await;
        assert_eq!((call.result.unwrap().text.as_str(), call.spent.host_calls), ("{}", 2));
    }
}

/// Says what did not end as expected; the attack and the calls beside it are polled in turn on this one thread.
async fn wrong(attack: &Attack, sandbox: &Sandbox, honest: &Component) -> Option<String> {
    let ((result, _), ()) = tokio::join!(biased; attack.run(sandbox), three(sandbox, honest));
    match result {
        Err(Fault::Limit(exceeded)) if exceeded.limit == attack.ends => None,
        other => Some(format!("{}: {other:?} instead of {}", attack.name, attack.ends.name())),
    }
}

#[tokio::test]
async fn each_attack_meets_its_limit_while_others_are_answered() {
    let (sandbox, impatient) = (Sandbox::new(bombs::limits()), Sandbox::new(bombs::impatient()));
    let (honest, hasty) = (inspect(&sandbox, bombs::honest()).await, inspect(&impatient, bombs::honest()).await);
    let mut all = vec![];
    for attack in bombs::running().iter().chain(&bombs::refused()) {
        let (sandbox, honest) = if attack.hangs { (&impatient, &hasty) } else { (&sandbox, &honest) };
        all.extend(wrong(attack, sandbox, honest).await);
    }
    assert!(all.is_empty(), "{all:#?}");
}

/// All at once, more than there are slots: what waits for one is not ended by what holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attacks_at_once_leave_the_sandbox_as_it_was() {
    let sandbox = Arc::new(Sandbox::new(bombs::limits()));
    let honest = inspect(&sandbox, bombs::honest()).await;
    // Those that only waiting ends have a test above.
    let attacks: Vec<Attack> = bombs::running().into_iter().filter(|attack| !attack.hangs).collect();
    let running: Vec<_> = attacks
        .into_iter()
        .map(|attack| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move { (attack.run(&sandbox).await.0, attack) })
        })
        .collect();
    for _ in 0..5 {
        three(&sandbox, &honest).await;
    }
    for attack in running {
        let (result, attack) = attack.await.unwrap();
        assert!(matches!(&result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
    }
    three(&sandbox, &honest).await;
}
