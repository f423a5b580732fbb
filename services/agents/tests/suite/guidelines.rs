//! Rules that hold under conditions, and what a turn may take.

use frontdesk_agents::Writing;
use frontdesk_api::{
    Error,
    agent::{AgentSpec, Guideline, GuidelineMatch, Limits},
    chat::Role,
    turn::{StepKind, StepOutput, TurnState},
};
use frontdesk_store::testing::each_database;

use crate::stage::{Line, Stage, answer, done, with_tools};

fn rule(id: &str, condition: &str) -> Guideline {
    Guideline {
        id: id.into(),
        name: None,
        condition: condition.into(),
        action: format!("Do {id}."),
        priority: 0,
        excludes: vec![],
        enabled: true,
    }
}

/// Four conditions, so that a model is asked, and a rule without one.
fn ruled() -> AgentSpec {
    let rules = ["refund", "delay", "praise", "anger"].map(|id| rule(id, &format!("they speak of {id}")));
    let guidelines = rules.into_iter().chain([rule("kind", "")]).collect();
    AgentSpec { instructions: "Be brief.".into(), guidelines, ..AgentSpec::new("m") }
}

/// What the agent's model read as its instructions by the call number `n`.
fn told(stage: &Stage, n: usize) -> String {
    let (role, words) = stage.model.asked()[n][0].clone();
    assert_eq!(role, Role::System);
    words
}

#[tokio::test]
async fn only_the_rules_that_hold_go_before_the_model() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(ruled()).await;
        stage.model.play([Line::Say("{\"holds\":[4,2]}"), Line::Say("Sorry.")]);
        let view = stage.ask(&conversation, "it is late and I am angry").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Sorry."));
        let question = stage.model.asked()[0].clone();
        assert!(
            question[0].1.contains("2. they speak of delay") && !question[0].1.contains("Do delay"),
            "{question:?}"
        );
        assert!(question[1].1.contains("I am angry"), "{question:?}");
        let rules =
            "Follow these rules in your answer, the most important first:\n- Do delay.\n- Do anger.\n- Do kind.";
        assert_eq!(told(&stage, 1), format!("Be brief.\n\n{rules}"));
        assert_eq!(view.turn.usage.input_tokens, 20, "the question counts");
        let step = view.steps.iter().find(|step| step.kind == StepKind::Guidelines).expect("a step");
        let Some(StepOutput::Guidelines { matched, error: None, cost_nano_usd, .. }) = &step.output else {
            panic!("{step:?}")
        };
        assert_eq!((matched.join(" "), *cost_nano_usd), ("anger delay".into(), Some(10_000)));
    })
    .await;
}

#[tokio::test]
async fn where_matching_fails_all_rules_are_given_and_the_step_says_so() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(ruled()).await;
        for (line, code, took, cost) in [
            (Line::Fail(Error::upstream("is down")), "upstream", 10, None),
            (Line::Say("hm"), "guidelines_unreadable", 20, Some(10_000)),
        ] {
            let before = stage.model.asked().len();
            stage.model.play([line, Line::Say("Hello.")]);
            let view = stage.ask(&conversation, "hello").await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Hello."));
            assert_eq!(stage.model.asked().len(), before + 2, "{code}");
            let read = stage.model.asked().pop().expect("a prompt")[0].1.clone();
            assert!(
                read.contains("- refund: When they speak of refund: Do refund.") && read.contains("Always"),
                "{read}"
            );
            let matching = view.steps.iter().find_map(|step| match &step.output {
                Some(StepOutput::Guidelines { error, cost_nano_usd, .. }) => {
                    Some((error.clone()?.code, *cost_nano_usd))
                }
                _ => None,
            });
            assert_eq!(matching, Some((code.to_owned(), cost)));
            assert_eq!(view.turn.usage.input_tokens, took, "an answer that cannot be read was paid for");
        }
    })
    .await;
}

#[tokio::test]
async fn few_rules_and_those_that_are_always_given_cost_no_call() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let always = AgentSpec { guideline_match: GuidelineMatch::Always, ..ruled() };
        let few = AgentSpec { guidelines: ruled().guidelines.split_off(1), ..ruled() };
        let languages = vec!["de".to_owned(), "en".into()];
        for (n, spec) in [always, few, AgentSpec { languages, ..AgentSpec::new("m") }].into_iter().enumerate() {
            let conversation = stage.conversation(spec).await;
            stage.model.play([Line::Say("Hello.")]);
            let view = stage.ask(&conversation, "hello").await;
            assert_eq!(view.turn.state, TurnState::Completed);
            assert!(view.steps.iter().all(|step| step.kind != StepKind::Guidelines));
            let says = if n == 2 { "one of these: de, en. Else answer in de." } else { "When they speak of anger" };
            assert!(told(&stage, n).contains(says), "{}", told(&stage, n));
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_stops_where_it_has_taken_its_tokens_or_its_money() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        // A call takes 10 tokens in and 2 out, and costs 10 micro-USD.
        for (limits, code, calls) in [
            (Limits { max_tokens: Some(12), ..Limits::default() }, "turn_max_tokens", 0),
            (Limits { max_tokens: Some(13), ..Limits::default() }, "turn_max_tokens", 1),
            (Limits { max_cost_micro_usd: Some(10), ..Limits::default() }, "turn_max_cost", 0),
            (Limits { max_cost_micro_usd: Some(11), ..Limits::default() }, "turn_max_cost", 1),
        ] {
            let conversation = stage.conversation(AgentSpec { limits, ..with_tools() }).await;
            stage.model.play((0..=calls).map(|_| Line::Call(vec![("a", "look", "{}")])));
            let view = stage.ask(&conversation, "go").await;
            assert_eq!((view.turn.state, done(&view).len()), (TurnState::Incomplete, calls), "{code}");
            assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some(code));
        }
        // An answer that reaches the limit is an answer.
        let limits = Limits { max_tokens: Some(12), ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..AgentSpec::new("m") }).await;
        stage.model.play([Line::Say("Hello.")]);
        assert_eq!(stage.ask(&conversation, "hello").await.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_money_that_could_never_act_is_refused() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let limits = Limits { max_cost_micro_usd: Some(10), ..Limits::default() };
        let spec = |model: &str| AgentSpec { limits: limits.clone(), ..AgentSpec::new(model) };
        let with = |model: &str| AgentSpec { guideline_model: Some(model.into()), ..spec("up/m") };
        for spec in [spec("up/unpriced"), spec("unpriced"), with("up/unpriced")] {
            let refused = stage.agents.create_agent(&stage.cx, spec).await.expect_err("no price");
            assert_eq!(refused.param.as_deref(), Some("limits.max_cost_micro_usd"));
            assert_eq!(refused.code.as_deref(), Some("model_without_price"));
            assert!(refused.message.contains("up/unpriced"), "{refused}");
        }
        // Of a model that nobody lists nothing is known, and of a route's targets another may answer.
        for spec in [spec("up/m"), spec("m"), spec("dear"), with("cheap"), spec("elsewhere")] {
            stage.agents.create_agent(&stage.cx, spec).await.expect("an agent");
        }
        let without = AgentSpec { limits: Limits::default(), ..spec("up/unpriced") };
        let agent = stage.agents.create_agent(&stage.cx, without).await.expect("no such limit").id;
        let change = stage.agents.write_version(&stage.cx, &agent, &spec("up/unpriced"), &Writing::default()).await;
        assert_eq!(change.expect_err("no price").code.as_deref(), Some("model_without_price"));
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_guidelines_is_told_by_its_path() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for (rules, languages, param) in [
            (vec![rule("a b", "x")], vec![], "guidelines[0].id"),
            (vec![rule("a", "x"), rule("a", "y")], vec![], "guidelines[1].id"),
            (vec![Guideline { action: " ".into(), ..rule("a", "x") }], vec![], "guidelines[0].action"),
            (vec![Guideline { excludes: vec!["b".into()], ..rule("a", "x") }], vec![], "guidelines[0].excludes"),
            (vec![], vec!["de".to_owned(), "every one".into()], "languages[1]"),
        ] {
            let spec = AgentSpec { guidelines: rules, languages, ..AgentSpec::new("m") };
            let refused = stage.agents.create_agent(&stage.cx, spec).await.expect_err(param);
            assert_eq!(refused.param.as_deref(), Some(param));
        }
        let limits = Limits { max_tokens: Some(0), ..Limits::default() };
        let refused = stage.agents.create_agent(&stage.cx, AgentSpec { limits, ..AgentSpec::new("m") }).await;
        assert_eq!(refused.expect_err("no tokens").param.as_deref(), Some("limits.max_tokens"));
    })
    .await;
}
