//! Attacks while honest calls are answered in the same sandbox: which limit ended each, and that nobody else noticed.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{cell::Cell, sync::Arc, time::Duration};

use common::{
    Gate,
    bombs::{self, Attack},
    call, inspect,
};
use frontdesk_wasm::{Component, Fault, Limit, Limits, Sandbox};

async fn answered(sandbox: &Sandbox, honest: &Component) {
    let call = call(sandbox, honest).await;
    assert_eq!((call.result.unwrap().text.as_str(), call.spent.host_calls), ("{}", 2));
}

/// What did not end as expected. The attack's guest is in the middle of its call before the first honest call begins, and
/// goes on only when that one is answered; from then on they follow each other until the attack has ended.
async fn wrong(attack: &Attack, sandbox: &Sandbox, honest: &Component) -> Option<String> {
    let component = sandbox.inspect(attack.bytes.clone()).await.unwrap();
    let (gate, over, meanwhile) = (Gate::closed(attack.hangs), Cell::new(false), Cell::new(0));
    let attacking = async {
        let call = sandbox.call(&component, "t", "{}", attack.grants(&gate)).await;
        over.set(true);
        call.result
    };
    let beside = async {
        let _ = gate.entered.acquire().await.unwrap();
        answered(sandbox, honest).await;
        assert!(!over.get(), "{} was over before it began", attack.name);
        gate.open.add_permits(1);
        while !over.get() {
            answered(sandbox, honest).await;
            meanwhile.set(meanwhile.get() + usize::from(!over.get()));
        }
    };
    let (result, ()) = tokio::join!(attacking, beside);
    // What a limit of time ends runs long enough for others to be answered while it does.
    let lasts = matches!(attack.ends, Limit::Cpu | Limit::Wall);
    match result {
        Err(Fault::Limit(exceeded)) if exceeded.limit == attack.ends && (meanwhile.get() > 0 || !lasts) => None,
        other => Some(format!("{}: {other:?}, {} calls meanwhile", attack.name, meanwhile.get())),
    }
}

#[tokio::test]
async fn each_attack_meets_its_limit_while_others_are_answered() {
    // Nothing interrupts one bulk operation: the limit is that of many, however slow the machine's memory is.
    let patient = Limits { cpu: Duration::from_secs(1), ..bombs::limits() };
    let (sandbox, impatient) = (Sandbox::new(patient), Sandbox::new(bombs::impatient()));
    let (honest, hasty) = (inspect(&sandbox, bombs::honest()).await, inspect(&impatient, bombs::honest()).await);
    let mut all = vec![];
    for attack in bombs::running() {
        let (sandbox, honest) = if attack.hangs { (&impatient, &hasty) } else { (&sandbox, &honest) };
        all.extend(wrong(&attack, sandbox, honest).await);
    }
    assert!(all.is_empty(), "{all:#?}");
}

/// What runs by itself cannot be held: honest calls follow each other from before it is registered until that has ended.
#[tokio::test]
async fn what_runs_while_it_is_registered_holds_up_no_call() {
    let sandbox = Sandbox::new(bombs::limits());
    let honest = inspect(&sandbox, bombs::honest()).await;
    for attack in bombs::starting() {
        let (over, mut meanwhile) = (Cell::new(false), 0);
        let registering = async {
            let result = sandbox.inspect(attack.bytes.clone()).await;
            over.set(true);
            result
        };
        let beside = async {
            while !over.get() {
                answered(&sandbox, &honest).await;
                meanwhile += usize::from(!over.get());
            }
        };
        let (result, ()) = tokio::join!(registering, beside);
        assert!(matches!(&result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
        assert!(meanwhile > 0, "{}: nobody was answered", attack.name);
        answered(&sandbox, &honest).await;
    }
}

#[tokio::test]
async fn what_is_turned_away_is_never_run() {
    let sandbox = Sandbox::new(bombs::limits());
    let honest = inspect(&sandbox, bombs::honest()).await;
    for attack in bombs::refused() {
        let result = attack.run(&sandbox).await;
        assert!(matches!(&result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
        answered(&sandbox, &honest).await;
    }
}

/// All at once, more than there are slots: what waits for one is not ended by what holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attacks_at_once_leave_the_sandbox_as_it_was() {
    let sandbox = Arc::new(Sandbox::new(bombs::limits()));
    let honest = inspect(&sandbox, bombs::honest()).await;
    // Those that only waiting ends have a test above.
    let attacks = bombs::running().into_iter().filter(|attack| !attack.hangs);
    let running: Vec<_> = attacks
        .map(|attack| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move { (attack.run(&sandbox).await, attack) })
        })
        .collect();
    for attack in running {
        let (result, attack) = attack.await.unwrap();
        assert!(matches!(&result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
    }
    answered(&sandbox, &honest).await;
}
