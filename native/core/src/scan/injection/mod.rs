//! Recognises instructions that try to override those of the application: injections and jailbreaks.
//!
//! A text passes three stages: the gate (a search for some dozen literals, which most text does not pass), the phrase
//! templates, and a linear model over hashed words and word pairs, of which there are two: one knows Latin words, the other
//! is asked where letters of other languages open the gate; neither is asked about source code. What forbids the same in as
//! many words (`exemptions.txt`) neither counts as a phrase nor is shown to the models. The data of all lie in `config/injection/`;
//! `scripts/train_injection.py` writes the weights. Time is linear in the length of the text.

mod accumulator;
mod code;
mod english;
mod exemptions;
mod gate;
mod model;
mod phrases;
mod templates;
mod tokens;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

pub use accumulator::Accumulator;

use code::is_code;
use english::English;
use exemptions::Exemptions;
use gate::{Ask, Asked, Gate};
use model::{Model, Peak};
use phrases::{Found, Search};
use templates::Templates;
use tokens::Token;

/// The text is looked at in pieces of this size, cut by position alone, so that a stream and a whole give one answer.
const SEGMENT: usize = 2048;
/// How much of the text before a segment is looked at with it, so that no attack is cut in two unseen.
const OVERLAP: usize = 512;

/// Texts up to this length are searched for templates where they are not English, whatever the gate says. To tell it costs an
/// instruction a byte, which most texts are to be spared.
const SENTENCES: usize = 240;

/// What a full window of Latin words has to weigh more than a few, in log-odds: of licences, manuals and notes of releases the
/// model has learned too little, and what is faintly suspicious in each of their lines adds up.
const CAUTION: f32 = 1.0;

/// Who wrote a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A person who may give orders.
    User,
    /// A tool, a document, a page: nothing in it is an order, so less suffices.
    Tool,
}

impl Channel {
    /// The score from which on a text counts as an injection.
    #[must_use]
    pub fn threshold(self) -> f32 {
        match self {
            Self::User => 0.5,
            Self::Tool => 0.3,
        }
    }
}

/// What a text amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// 0 to 1; 0 when the gate stayed shut.
    pub score: f32,
    /// Whether the score reaches the threshold of the channel.
    pub hit: bool,
    /// The template that was found, `model`, `hidden-text` or `none`.
    pub reason: &'static str,
    /// First byte of the strongest evidence.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

impl Verdict {
    const NONE: Self = Self { score: 0.0, hit: false, reason: "none", start: 0, end: 0 };

    fn or(self, score: f32, reason: &'static str, start: usize, end: usize) -> Self {
        if score > self.score { Self { score, hit: false, reason, start, end } } else { self }
    }

    fn judged(self, channel: Channel) -> Self {
        Self { hit: self.score >= channel.threshold(), ..self }
    }
}

/// The detector, built once from the data in the binary.
#[derive(Debug)]
pub struct Detector {
    gate: Gate,
    english: English,
    templates: Templates,
    latin: Model<{ 1 << 16 }>,
    languages: Model<{ 1 << 15 }>,
}

/// The detector that all scanners share.
#[must_use]
pub fn shared() -> &'static Detector {
    static SHARED: LazyLock<Detector> = LazyLock::new(Detector::new);
    &SHARED
}

impl Detector {
    /// # Panics
    ///
    /// When the data compiled into the binary are malformed, which a test rules out.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the data are part of the binary and tested")]
    pub fn new() -> Self {
        Self {
            gate: Gate::new(),
            english: English::new(),
            templates: templates::parse(concat!(
                include_str!("../../../../../config/injection/languages.txt"),
                include_str!("../../../../../config/injection/phrases.txt"),
                include_str!("../../../../../config/injection/concepts.txt"),
                include_str!("../../../../../config/injection/exemptions.txt"),
            ))
            .expect("the templates are well formed"),
            latin: Model::parse(include_bytes!("../../../../../config/injection/weights.bin"), CAUTION)
                .expect("the weights are well formed"),
            languages: Model::parse(include_bytes!("../../../../../config/injection/weights-languages.bin"), 0.0)
                .expect("the weights are well formed"),
        }
    }

    /// Judges a whole text, already normalised except for letter case. `hidden` counts the invisible characters that
    /// normalisation removed from it.
    #[must_use]
    pub fn score<T: AsRef<[u8]> + ?Sized>(&self, text: &T, channel: Channel, hidden: usize) -> Verdict {
        let text = text.as_ref();
        let mut verdict = Verdict::NONE;
        let mut search = Search::new(&self.templates.phrases);
        let mut done = 0;
        while done < text.len() {
            let end = (done + SEGMENT).min(text.len());
            let start = done.saturating_sub(OVERLAP);
            let segment = Segment { text: text.get(start..end).unwrap_or_default(), offset: start };
            verdict = self.segment(segment, &mut search, verdict, channel);
            done = end;
        }
        with_hidden(verdict, hidden, text.len()).judged(channel)
    }

    /// An incremental form of [`Detector::score`] with the same verdict for every split of the text.
    #[must_use]
    pub fn accumulator(&self, channel: Channel) -> Accumulator<'_> {
        Accumulator::new(self, channel)
    }

    /// What a segment with its overlap gives reason to ask. Short texts in other languages than English are searched for
    /// templates whoever wrote them, also where their letters do not tell the gate.
    fn ask(&self, text: &[u8]) -> Asked {
        let asked = self.gate.ask(text);
        match asked.reason {
            Ask::Orders if text.len() <= SENTENCES && !self.english.is_in(text) => {
                Asked { reason: Ask::Concepts, ..asked }
            }
            _ => asked,
        }
    }

    fn segment(&self, segment: Segment<'_>, search: &mut Search<'_>, verdict: Verdict, channel: Channel) -> Verdict {
        let asked = self.ask(segment.text);
        let verdict = self.judge(segment, asked, search, verdict, channel);
        if !asked.spelled || verdict.score >= Channel::User.threshold() {
            return verdict;
        }
        let letters = tokens::letters_for_digits(segment.text);
        let other = self.ask(&letters);
        // Numbers read as letters are no words: without a trigger among them it is not writing.
        if other.weight <= asked.weight {
            return verdict;
        }
        self.judge(Segment { text: &letters, ..segment }, other, search, verdict, channel)
    }

    fn judge(
        &self,
        segment: Segment<'_>,
        asked: Asked,
        search: &mut Search<'_>,
        mut verdict: Verdict,
        channel: Channel,
    ) -> Verdict {
        let Segment { text, offset } = segment;
        let latin = match asked.reason {
            Ask::Nothing => return verdict,
            Ask::Orders if channel == Channel::User => return verdict,
            Ask::Orders | Ask::Concepts | Ask::Templates => false,
            Ask::Model => true,
        };
        let languages = asked.foreign && segment.is_short();
        // Of code the templates alone: the models have learned what words mean in sentences.
        let sentences = (latin || languages) && !is_code(text);
        let models = Models { detector: self, latin: sentences && latin, languages: sentences && languages };
        search.begin(asked.reason != Ask::Concepts || channel == Channel::Tool);
        tokens::of(text, |tokens| {
            search.follow(tokens);
            let mut exemptions = None;
            if let Some(found) = self.strongest(search, text, tokens, &mut exemptions) {
                verdict = verdict.or(found.score, found.id, offset + found.start, offset + found.end);
            }
            let mut peak = models.peak(tokens);
            if let Some(all) = peak
                && all.probability() >= Channel::Tool.threshold()
                && verdict.score < Channel::User.threshold()
            {
                // What is forbidden is no order: where nothing else tells, judged is what is said beside it.
                let covered = exemptions.unwrap_or_else(|| self.exemptions(text, tokens)).covered();
                if !covered.is_empty() {
                    let beside = models.peak(&tokens::beside(tokens, &covered));
                    peak = beside.map(|rest| if rest.score < all.score { rest } else { all });
                }
            }
            if let Some(peak) = peak {
                verdict = verdict.or(peak.probability(), "model", offset + peak.start, offset + peak.end);
            }
            verdict
        })
    }

    /// The strongest phrase of a stretch that no exemption voids; those of all of it are left in `exemptions` if they were
    /// looked for. A prohibition that the border of a stretch cuts is none: it counts as it would without exemptions.
    fn strongest(
        &self,
        search: &mut Search<'_>,
        text: &[u8],
        tokens: &[Token],
        exemptions: &mut Option<Exemptions>,
    ) -> Option<Found> {
        let (mut best, doubtful) = search.finish();
        let stronger = |found: &Found, best: Option<Found>| best.is_none_or(|best| found.score > best.score);
        let first = doubtful.iter().copied().reduce(|first, next| if next.score > first.score { next } else { first });
        let Some(first) = first.filter(|first| stronger(first, best)) else { return best };
        // Of an attack it takes no more than this.
        if !Exemptions::near(&self.templates.exemptions, text, &first) {
            return Some(first);
        }
        let all = exemptions.insert(self.exemptions(text, tokens));
        for found in doubtful {
            if stronger(&found, best) && !all.void(&found) {
                best = Some(found);
            }
        }
        best
    }

    fn exemptions(&self, text: &[u8], tokens: &[Token]) -> Exemptions {
        Exemptions::find(&self.templates.exemptions, text, tokens)
    }
}

/// A piece of the text with the overlap before it, and where it begins in the whole.
#[derive(Clone, Copy, Debug)]
struct Segment<'text> {
    text: &'text [u8],
    offset: usize,
}

impl Segment<'_> {
    /// Whether it is all of a text that fills no segment. The model of other languages is asked about nothing else: it has
    /// learned from sentences, and what is faintly wrong with each harmless one of a page adds up.
    fn is_short(&self) -> bool {
        self.offset == 0 && self.text.len() < SEGMENT
    }
}

/// Those of the models that are asked about a stretch.
struct Models<'detector> {
    detector: &'detector Detector,
    latin: bool,
    languages: bool,
}

impl Models<'_> {
    /// The strongest window of both.
    fn peak(&self, tokens: &[Token]) -> Option<Peak> {
        let latin = self.latin.then(|| self.detector.latin.peak(&latin_words(tokens))).flatten();
        let languages = self.languages.then(|| self.detector.languages.peak(tokens)).flatten();
        // Of other languages too little harmless text is known to tell a faint suspicion from none.
        let languages = languages.filter(|peak| peak.score >= 0.0);
        latin.into_iter().chain(languages).max_by(|a, b| a.score.total_cmp(&b.score))
    }
}

/// The words that the model of Latin ones is asked about: none of a text that is mostly in other scripts, which are left to the
/// other.
fn latin_words(tokens: &[Token]) -> Cow<'_, [Token]> {
    let others = tokens.iter().filter(|token| !token.latin).count();
    if others == 0 {
        Cow::Borrowed(tokens)
    } else if 2 * others > tokens.len() {
        Cow::Borrowed(&[])
    } else {
        tokens.iter().filter(|token| token.latin).copied().collect()
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

/// Invisible characters in number are not typed by accident: a hidden message, or hidden parts of words.
fn with_hidden(verdict: Verdict, hidden: usize, length: usize) -> Verdict {
    let score = match hidden {
        0..8 => return verdict,
        8..24 => 0.3,
        _ => 0.4,
    };
    verdict.or(score, "hidden-text", 0, length)
}

/// What each stage makes of a text: for the scripts that train the weights and measure the whole.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The verdict's score, of all stages together, in what a user writes.
    pub score: f32,
    /// The same in what a tool brings.
    pub tool_score: f32,
    /// The score of the strongest phrase template, whether or not the gate opens; of a text that is searched without it, of the
    /// templates that need none.
    pub phrase: f32,
    /// That template.
    pub template: &'static str,
    /// Whether any segment of what a user writes is searched for templates.
    pub searched: bool,
    /// Whether the model of Latin words is asked about any.
    pub modelled: bool,
    /// Whether the model of other languages is.
    pub foreign: bool,
    /// The hashed words that the former takes; none of a text that is mostly in other scripts.
    pub words: Vec<u32>,
    /// Those that the latter takes: all.
    pub all_words: Vec<u32>,
}

impl Detector {
    /// Runs each stage on its own.
    #[must_use]
    pub fn explain(&self, text: &[u8]) -> Explanation {
        let segments = (0..text.len()).step_by(SEGMENT).map(|done| {
            let end = (done + SEGMENT).min(text.len());
            let segment = text.get(done.saturating_sub(OVERLAP)..end).unwrap_or_default();
            let asked = self.ask(segment);
            let is_sentences = !is_code(segment);
            let most = if is_sentences { Ask::Model } else { Ask::Templates };
            Asked { reason: asked.reason.min(most), foreign: asked.foreign && is_sentences, ..asked }
        });
        let (most, foreign) = segments
            .fold((Ask::Nothing, false), |(most, foreign), asked| (most.max(asked.reason), foreign || asked.foreign));
        let mut search = Search::new(&self.templates.phrases);
        search.begin(most != Ask::Concepts);
        let (words, all_words, found) = tokens::of(text, |tokens| {
            search.follow(tokens);
            let hashes = |tokens: &[Token]| tokens.iter().map(|token| token.hash).collect();
            let found = self.strongest(&mut search, text, tokens, &mut None);
            (hashes(&latin_words(tokens)), hashes(tokens), found)
        });
        let foreign = foreign && Segment { text, offset: 0 }.is_short();
        Explanation {
            score: self.score(text, Channel::User, 0).score,
            tool_score: self.score(text, Channel::Tool, 0).score,
            phrase: found.map_or(0.0, |found| found.score),
            template: found.map_or("none", |found| found.id),
            searched: most >= Ask::Concepts,
            modelled: most == Ask::Model,
            foreign,
            words,
            all_words,
        }
    }
}
