//! Topics: whole-word phrases and their harmless neighbours.

use std::ops::Range;

use frontdesk_api::{Error, Result, safety::Stage};

use crate::{
    config::{Topic, TopicAction},
    words::{Word, words},
};

/// A topic ready to be looked for.
#[derive(Debug, Clone)]
pub(crate) struct Lookout {
    pub(crate) name: String,
    pub(crate) action: TopicAction,
    pub(crate) message: Option<String>,
    pub(crate) stages: Vec<Stage>,
    phrases: Vec<Phrase>,
    except: Vec<Phrase>,
}

/// Words in order; the flag says that any ending will do.
type Phrase = Vec<(String, bool)>;

impl Lookout {
    /// # Errors
    /// `Invalid` naming the key of a phrase without words.
    pub(crate) fn new(topic: Topic, key: &str) -> Result<Self> {
        if topic.phrases.is_empty() {
            return Err(Error::invalid(format!("{key}.phrases"), format!("topic '{}' has no phrases", topic.name)));
        }
        let read = |list: &[String], name: &str| -> Result<Vec<Phrase>> {
            list.iter()
                .enumerate()
                .map(|(i, p)| {
                    phrase(p).ok_or_else(|| {
                        let key = format!("{key}.{name}[{i}]");
                        Error::invalid(key.clone(), format!("{key}: '{p}' holds no word"))
                    })
                })
                .collect()
        };
        let (phrases, except) = (read(&topic.phrases, "phrases")?, read(&topic.except, "except")?);
        Ok(Self {
            name: topic.name,
            action: topic.action,
            message: topic.message,
            stages: topic.stages,
            phrases,
            except,
        })
    }

    /// Whether the text speaks of it.
    pub(crate) fn is_in(&self, text: &[Word]) -> bool {
        let harmless: Vec<Range<usize>> = self.except.iter().flat_map(|p| places(p, text)).collect();
        let inside = |place: &Range<usize>| harmless.iter().any(|h| h.start <= place.start && place.end <= h.end);
        self.phrases.iter().flat_map(|p| places(p, text)).any(|place| !inside(&place))
    }

    /// Characters of the longest phrase, neighbours included.
    pub(crate) fn longest(&self) -> usize {
        let length = |p: &Phrase| p.iter().map(|(w, _)| w.chars().count() + 1).sum::<usize>();
        self.phrases.iter().chain(&self.except).map(length).max().unwrap_or(0)
    }
}

/// Where a phrase stands, as ranges of words.
fn places(phrase: &Phrase, text: &[Word]) -> Vec<Range<usize>> {
    let fits = |(wanted, any_ending): &(String, bool), word: &Word| {
        if *any_ending { word.text.starts_with(wanted) } else { word.text == *wanted }
    };
    let stands = |window: &[Word]| phrase.iter().zip(window).all(|(w, here)| fits(w, here));
    text.windows(phrase.len())
        .enumerate()
        .filter(|(_, window)| stands(window))
        .map(|(i, _)| i..i + phrase.len())
        .collect()
}

/// None where it holds no word.
fn phrase(text: &str) -> Option<Phrase> {
    let read: Phrase = words(text)
        .into_iter()
        .map(|w| {
            let any_ending = text[w.range.end..].starts_with('*');
            (w.text, any_ending)
        })
        .collect();
    (!read.is_empty()).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(phrases: &[&str], except: &[&str]) -> Lookout {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        let topic = Topic {
            name: "t".into(),
            phrases: list(phrases),
            except: list(except),
            action: TopicAction::Block,
            message: None,
            stages: vec![Stage::Input],
        };
        Lookout::new(topic, "topics[0]").expect("a topic")
    }

    fn speaks(topic: &Lookout, text: &str) -> bool {
        topic.is_in(&words(text))
    }

    #[test]
    fn phrases_are_whole_words_in_any_dress() {
        let bypass = topic(&["bypass the fuse"], &[]);
        for text in ["How do I BYPASS the fuse?", "bypass\n the   fuse", "bypass-the-fuse", "b\u{200b}ypass thé fuse"]
        {
            assert!(speaks(&bypass, text), "{text}");
        }
        for text in ["bypass the fuses", "the fuse bypass", "bypass a fuse", "rebypass the fuse", ""] {
            assert!(!speaks(&bypass, text), "{text}");
        }
    }

    #[test]
    fn a_neighbour_is_harmless_and_does_not_cover_for_others() {
        let bomb = topic(&["bomb*"], &["bath bomb*"]);
        assert!(!speaks(&bomb, "Do you sell bath bombs? I love a bath bomb."));
        assert!(speaks(&bomb, "A bath bomb or a bomb?"));
        assert!(speaks(&bomb, "bombing"));
        assert!(!speaks(&bomb, "aplomb"));
    }

    #[test]
    fn scripts_without_spaces_are_searched_too() {
        assert!(speaks(&topic(&["爆弾"], &[]), "この爆弾は"));
    }
}
