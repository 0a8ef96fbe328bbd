//! Why a draft is suggested, in words: one sentence in the style of the seed, and the evidence behind it.
//!
//! Sentences are put together from measures, never from bare numbers, so that what a person reads is what was counted;
//! [`check_numbers`] holds any suggestion to that.

pub(crate) mod measures;
mod numbers;
pub(crate) mod services;
mod sides;

pub use numbers::{NumberFault, check_numbers};

use crate::adviser::{AdviserSettings, Cause, Draft, UNANSWERED_CONFIDENCE_MAX, is_mostly_unanswered};
use crate::detector::Anomaly;
use crate::features::NAMES;
use crate::profile::{Exchange, PatternPorts, SteadyPattern};
use crate::proportion::{real, share};
use crate::series::SeriesKey;
use measures::{count, counted, decimal, number, p_value, percent, span};
use meshgate_policy::suggestion::{Evidence, EvidenceKind, Measure};
use meshgate_policy::{Protocol, Side};
use sides::side;

/// Part of all remembered flows from which a pattern is called high volume.
const HIGH_VOLUME_SHARE: f64 = 0.1;
/// Values of features beyond this are no logarithms of 64-bit counts, and no other feature is as large.
const LOGARITHM_MAX: f32 = 45.0;
/// Rules that a sentence names; a list names them all.
const RULES_NAMED_MAX: usize = 4;

/// The words of a suggestion.
pub(crate) struct Reasons {
    /// The justification.
    pub(crate) sentence: String,
    /// The evidence; the first one is number 1.
    pub(crate) evidence: Vec<Evidence>,
}

/// Returns the words for a draft.
pub(crate) fn of(draft: &Draft<'_>, settings: &AdviserSettings, flows_remembered: u64) -> Reasons {
    let mut words = Words::new(draft);
    let sentence = match draft.cause {
        Cause::Steady(pattern) => words.steady(&pattern.exchange, settings, flows_remembered),
        Cause::Anomaly(anomaly) => words.anomaly(anomaly),
    };
    Reasons { sentence, evidence: words.evidence }
}

/// A service as sentences name it, with the numbers in its names.
struct Service {
    /// `TCP traffic on port 80`.
    traffic: String,
    /// `SSH connection attempts`, `UDP traffic on port 999`.
    attempts: String,
    /// `TCP 80`, for `suggest allowing`.
    rule: String,
    /// `SSH access` or `TCP 8123`, for `suggest denying`.
    access: String,
    /// Whether its flows are connections.
    connects: bool,
    /// The ports, the type or the protocol number; none where a rule is for all.
    numbers: Vec<Measure>,
}

impl Service {
    fn of(cause: &Cause<'_>) -> Self {
        match cause {
            Cause::Steady(SteadyPattern { key, ports: PatternPorts::Spread { any_protocol }, .. }) => {
                let protocol = Protocol(key.protocol);
                let of = if *any_protocol { "any protocol".to_owned() } else { protocol.to_string() };
                Self::wide(
                    format!("{of} traffic on ports that hardly come twice"),
                    format!("{of} on all ports"),
                )
            }
            Cause::Steady(SteadyPattern { key, ports: PatternPorts::Several(ports), .. }) => {
                let protocol = Protocol(key.protocol);
                let numbers: Vec<Measure> = ports.iter().map(|port| number("port", (*port).into())).collect();
                let texts: Vec<&str> = numbers.iter().map(|number| number.text.as_str()).collect();
                let list = texts.join(", ");
                let wide =
                    Self::wide(format!("{protocol} traffic on ports {list}"), format!("{protocol} {list}"));
                Self { numbers, ..wide }
            }
            Cause::Steady(_) | Cause::Anomaly(_) => Self::of_series(cause.key()),
        }
    }

    /// Returns the words for more than one port. Only steady patterns have those, so nothing is attempted.
    fn wide(traffic: String, rule: String) -> Self {
        let (attempts, access) = (traffic.clone(), rule.clone());
        Self { traffic, attempts, rule, access, connects: false, numbers: Vec::new() }
    }

    fn of_series(key: &SeriesKey) -> Self {
        let protocol = Protocol(key.protocol);
        if protocol.is_icmp() {
            let number = number("icmp type", key.service_port.into());
            let traffic = format!("{protocol} traffic of type {}", number.text);
            let rule = format!("{protocol} type {}", number.text);
            let (attempts, access) = (traffic.clone(), rule.clone());
            return Self { traffic, attempts, rule, access, connects: false, numbers: vec![number] };
        }
        if !protocol.has_ports() {
            let number = number("protocol", key.protocol.into());
            let traffic = format!("traffic of protocol {}", number.text);
            let rule = format!("protocol {}", number.text);
            let (attempts, access) = (traffic.clone(), rule.clone());
            return Self { traffic, attempts, rule, access, connects: false, numbers: vec![number] };
        }
        let number = number("port", key.service_port.into());
        let traffic = format!("{protocol} traffic on port {}", number.text);
        let rule = format!("{protocol} {}", number.text);
        let connects = protocol != Protocol::UDP;
        let name = services::name(protocol, key.service_port);
        let attempts = match (name, connects) {
            (Some(name), true) => format!("{name} connection attempts"),
            (Some(name), false) => format!("{name} traffic"),
            (None, true) => format!("{protocol} connection attempts on port {}", number.text),
            (None, false) => traffic.clone(),
        };
        let access = name.map_or_else(|| rule.clone(), |name| format!("{name} access"));
        Self { traffic, attempts, rule, access, connects, numbers: vec![number] }
    }
}

/// Sentences about one draft, and the evidence gathered for them so far.
struct Words<'a> {
    draft: &'a Draft<'a>,
    service: Service,
    from_s: u64,
    until_s: u64,
    evidence: Vec<Evidence>,
}

impl<'a> Words<'a> {
    fn new(draft: &'a Draft<'a>) -> Self {
        let (from_s, until_s) = match draft.cause {
            Cause::Steady(pattern) => (pattern.exchange.first_s, pattern.exchange.last_s),
            Cause::Anomaly(anomaly) => {
                (anomaly.start_s, anomaly.start_s.saturating_add(anomaly.width_s.into()))
            }
        };
        Self { draft, service: Service::of(&draft.cause), from_s, until_s, evidence: Vec::new() }
    }

    /// Returns the sentence for an allow.
    fn steady(&mut self, exchange: &Exchange, settings: &AdviserSettings, flows_remembered: u64) -> String {
        let flows = count("flows", exchange.flows, "flows");
        let seconds = span("span", self.until_s.saturating_sub(self.from_s));
        let answered = percent("answered share", exchange.answered_share());
        let is_high = share(exchange.flows, flows_remembered) >= HIGH_VOLUME_SHARE;
        let volume = if is_high { "High volume of" } else { "Steady" };
        let between = match self.sides() {
            (source, destination) if source == destination => format!("between members of {source}"),
            (source, destination) => format!("between {source} and {destination}"),
        };
        let doubt = if is_mostly_unanswered(exchange, settings.steady_answered_share) {
            let refused = count("refused", exchange.refused, "attempts");
            let cap = decimal("confidence cap", UNANSWERED_CONFIDENCE_MAX, "");
            let text = format!(
                ", {} refused; attempts that were refused or not answered do not speak for it, so that its \
                 confidence is at most {}",
                refused.text, cap.text
            );
            self.add(
                EvidenceKind::Refusals,
                "Part of the attempts was refused or not answered.",
                vec![refused, cap],
            );
            text
        } else {
            String::new()
        };
        let sentence = format!(
            "{volume} {} {between}: {} flows in {}, {} answered{doubt}{} - suggest allowing {} between {}.",
            self.service.traffic,
            flows.text,
            seconds.text,
            answered.text,
            self.exception(),
            self.service.rule,
            if self.is_between_groups() { "these groups" } else { "them" },
        );
        self.volume_of_exchange(exchange, flows);
        self.answers(exchange.answered, exchange.flows, answered);
        self.refusals(exchange.refused);
        let windows = count("windows", exchange.windows, "windows");
        let with_answers = count("windows answered", exchange.windows_answered, "windows");
        let text = format!(
            "It was seen in {} over {}, and answered in {} of them.",
            counted(&windows, "window"),
            seconds.text,
            with_answers.text
        );
        self.add(EvidenceKind::Span, &text, vec![windows, with_answers, seconds]);
        sentence
    }

    /// Returns the sentence for a deny.
    fn anomaly(&mut self, anomaly: &Anomaly) -> String {
        let sums = &anomaly.sums;
        let (source, destination) = self.sides();
        let flows = count("flows", sums.flows, "flows");
        let seconds = span("span", anomaly.width_s.into());
        let probability = p_value("p-value", probability(anomaly.p_value));
        let bytes = count("bytes", sums.bytes_forward.saturating_add(sums.bytes_reverse), "bytes");
        let amount = match (sums.flows, self.service.connects) {
            (0, _) => format!("{} bytes", bytes.text),
            (_, true) => counted(&flows, "attempt"),
            (_, false) => counted(&flows, "flow"),
        };
        let (usual, novelty) = self.usual(anomaly);
        let explicit = if self.draft.makes_explicit { ", which the default refuses already" } else { "" };
        let sentence = format!(
            "Unusual {} from {source} to {destination}: {amount} in {}{usual} ({}){explicit}{} - suggest denying {}.",
            self.service.attempts,
            seconds.text,
            probability.text,
            self.exception(),
            self.service.access,
        );
        let packets = count("packets", sums.packets_forward.saturating_add(sums.packets_reverse), "packets");
        let sources = count("sources", sums.sources.into(), "addresses");
        let destinations = count("destinations", sums.destinations.into(), "addresses");
        let text = format!(
            "{} with {} and {} in {}, from {} to {}.",
            counted(&flows, "flow"),
            counted(&packets, "packet"),
            counted(&bytes, "byte"),
            seconds.text,
            counted(&sources, "source address"),
            counted(&destinations, "destination address")
        );
        let mut measures = vec![flows, packets, bytes, seconds, sources, destinations];
        measures.extend(self.service.numbers.clone());
        measures.extend(self.named_rules());
        self.add(EvidenceKind::Volume, &text, measures);
        self.novelty(anomaly, probability, novelty);
        self.surprises(anomaly);
        let answered = percent("answered share", share(sums.answered, sums.flows));
        self.answers(sums.answered, sums.flows, answered);
        self.refusals(sums.refused);
        sentence
    }

    /// Returns what was usual of the series before, as the end of a clause, with its measures.
    fn usual(&self, anomaly: &Anomaly) -> (String, Vec<Measure>) {
        let past = &self.draft.past;
        let is_first = past.last_s == 0 || past.first_s >= anomaly.start_s;
        if anomaly.is_new_series && is_first {
            return (" where none were seen before".to_owned(), Vec::new());
        }
        if anomaly.is_new_series {
            let age = span("age", anomaly.start_s - past.first_s);
            return (format!(", first seen {} before", age.text), vec![age]);
        }
        if past.windows == 0 || anomaly.sums.flows == 0 {
            return (String::new(), Vec::new());
        }
        let mean = decimal("usual flows", real(past.flows) / real(past.windows), "flows");
        (format!(" where {} are usual", mean.text), vec![mean])
    }

    fn volume_of_exchange(&mut self, exchange: &Exchange, flows: Measure) {
        let forward = count("bytes forward", exchange.bytes_forward, "bytes");
        let reverse = count("bytes reverse", exchange.bytes_reverse, "bytes");
        let sources = count("sources", exchange.sources.into(), "addresses");
        let destinations = count("destinations", exchange.destinations.into(), "addresses");
        let text = format!(
            "{} with {} there and {} back, from at least {} to at least {}.",
            counted(&flows, "flow"),
            counted(&forward, "byte"),
            counted(&reverse, "byte"),
            counted(&sources, "source address"),
            counted(&destinations, "destination address")
        );
        let mut measures = vec![flows, forward, reverse, sources, destinations];
        measures.extend(self.service.numbers.clone());
        measures.extend(self.named_rules());
        self.add(EvidenceKind::Volume, &text, measures);
    }

    fn answers(&mut self, answered: u64, flows: u64, share: Measure) {
        if flows == 0 {
            return;
        }
        let (answered, flows) = (count("answered", answered, "flows"), count("flows", flows, "flows"));
        let text = format!("{} of {} flows were answered ({}).", answered.text, flows.text, share.text);
        self.add(EvidenceKind::Answers, &text, vec![answered, flows, share]);
    }

    fn refusals(&mut self, refused: u64) {
        if refused > 0 {
            let refused = count("refused", refused, "attempts");
            let text = format!("The policy refused {}.", counted(&refused, "attempt"));
            self.add(EvidenceKind::Refusals, &text, vec![refused]);
        }
    }

    fn novelty(&mut self, anomaly: &Anomaly, probability: Measure, mut measures: Vec<Measure>) {
        let new = p_value("novelty p-value", self::probability(anomaly.novelty_p_value));
        let many = p_value("count p-value", self::probability(anomaly.count_p_value));
        // What is new stays so for a few windows.
        let what = if anomaly.is_new_source {
            "The source began nothing before this window and the few in front of it."
        } else if anomaly.is_new_pair {
            "The source did not reach this destination before this window and the few in front of it."
        } else if anomaly.is_new_series {
            "The source did not use this service of the destination before this window and the few in front of it."
        } else {
            "The service between them is known."
        };
        let text = format!(
            "{what} How often anything usual looks as unusual: by novelty {}, by the number of flows {}, in all {}.",
            new.text, many.text, probability.text
        );
        measures.extend([new, many, probability]);
        self.add(EvidenceKind::Novelty, &text, measures);
    }

    fn surprises(&mut self, anomaly: &Anomaly) {
        for surprise in &anomaly.surprises {
            let values = [surprise.seen, surprise.expected, surprise.nats];
            // Above that a logarithm of a count is none.
            if !values.iter().all(|value| value.abs() < LOGARITHM_MAX) {
                continue;
            }
            let [seen, expected, nats] = values.map(f64::from);
            let (seen, expected) =
                (in_plain_units(surprise.feature, seen), in_plain_units(surprise.feature, expected));
            let seen = decimal("seen", seen, "");
            let expected = decimal("expected", expected, "");
            let nats = decimal("surprise", nats, "nats");
            let text = format!(
                "{}: {} where the model expected {}, a surprise of {} nats.",
                surprise.feature, seen.text, expected.text, nats.text
            );
            self.add(EvidenceKind::Surprise, &text, vec![seen, expected, nats]);
        }
    }

    /// Returns the clause that names the broader rules, if there are any.
    fn exception(&self) -> String {
        let named = self.named_rules();
        let named: Vec<&str> = named.iter().map(|rule| rule.text.as_str()).collect();
        match named.len() {
            0 => String::new(),
            1 => format!(", narrows rule {}", named.join(" and ")),
            _ => format!(", narrows rules {}", named.join(" and ")),
        }
    }

    fn named_rules(&self) -> Vec<Measure> {
        self.draft.narrows.iter().take(RULES_NAMED_MAX).map(|rule| number("narrowed rule", rule.0)).collect()
    }

    fn is_between_groups(&self) -> bool {
        let rule = &self.draft.rule;
        [&rule.source, &rule.destination].into_iter().all(|side| matches!(side, Side::Group(_)))
    }

    fn sides(&self) -> (String, String) {
        let Draft { relationship, rule, .. } = self.draft;
        (
            side(&relationship.source_group_name, &rule.source),
            side(&relationship.destination_group_name, &rule.destination),
        )
    }

    fn add(&mut self, kind: EvidenceKind, sentence: &str, measures: Vec<Measure>) {
        let ns = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        self.evidence.push(Evidence {
            kind,
            sentence: sentence.to_owned(),
            measures,
            from_ns: ns(self.from_s),
            until_ns: ns(self.until_s),
        });
    }
}

/// Returns the value of a feature as people count: features of counts are logarithms.
fn in_plain_units(feature: &str, value: f64) -> f64 {
    let is_logarithm = NAMES.iter().any(|known| known.name == feature && known.meaning.starts_with("ln(1 +"));
    if is_logarithm { value.exp_m1() } else { value }
}

/// Returns the number as a probability; 1 for what is none.
fn probability(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, 1.0) } else { 1.0 }
}
