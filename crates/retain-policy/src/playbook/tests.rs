//! Playbooks that can be read, and everything that is told of those that cannot.

use std::collections::BTreeMap;

use super::*;

const HEAD: &str = "[playbook]\nname = \"p\"\ncurrency = \"USD\"\nvalue_at_stake = 100\n";

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn with_head(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

#[track_caller]
fn read(rest: &str) -> Playbook {
    let text = with_head(rest);
    Playbook::parse(&text, &none()).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Lines are counted behind the head's four.
#[track_caller]
fn refused(rest: &str, expected: &str) {
    let problems = Playbook::parse(&with_head(rest), &none()).unwrap_err();
    let told = told(&problems);
    assert!(told.contains(expected), "expected: {expected}\nfound: {told}");
}

#[track_caller]
fn warned(rest: &str, expected: &str) {
    let playbook = read(rest);
    let told = told(playbook.warnings());
    assert!(told.contains(expected), "expected: {expected}\nfound: {told}");
}

#[track_caller]
fn quiet(rest: &str) {
    let playbook = read(rest);
    assert_eq!(told(playbook.warnings()), "");
}

fn action(rest: &str) -> String {
    format!("[[action]]\nid = \"call\"\ncost = 1.0\n{rest}\n")
}

const WHOLE: &str = r#"
[playbook]
name = "saas-retention"
currency = "USD"
language = "es"
goal = "retain"
value_at_stake = "predictions.ltv.expected_value"
attribution_days = 45
[models]
churn = "telco-churn"
ltv = "ltv/3"
[exploration]
method = "thompson"
floor = 0.02
holdout = 0.05
holdout_salt = "spring"
[fatigue]
cost_per_contact = 0.5
halves_after_days = 7
[contact]
overall = [{ days = 7, max = 3 }]
suppress = { churned = 3650 }
[contact.channels.phone]
limits = [{ days = 30, max = 1 }]
consent = "features.phone_consent"
quiet = "now.hour < 8 || now.hour >= 20"
capacity = 450
[contact.channels.email]
[[action]]
id = "call"
name = { en = "Call", es = "Llamada" }
channel = "phone"
cost = 24.0
cooldown_days = 14
prior = { effect = 0.03, sd = 0.02, weight = 50 }
answers = ["price"]
eligible = "features.tenure > 3"
excludes = ["mail"]
suppress = { rejected = 90 }
costly = true
[[action]]
id = "mail"
channel = "email"
cost = 0.01
value = "features.orders * 0.1"
mandatory = "predictions.churn.probability > 0.9"
[[action]]
id = "welcome"
channel = "email"
cost = 0
[[sequence]]
id = "onboarding"
start = "features.tenure < 1"
stop = "features.tenure > 6"
steps = [{ day = 0, action = "welcome" }, { day = 7, action = "mail" }]
"#;

#[test]
fn a_playbook_says_everything_it_was_told() {
    let playbook = Playbook::parse(WHOLE, &none()).unwrap_or_else(|problems| panic!("{}", told(&problems)));
    assert_eq!(told(playbook.warnings()), "");
    assert_eq!((playbook.settings.language, playbook.settings.attribution_days), (Language::Spanish, 45));
    assert_eq!(playbook.model("ltv").unwrap().address.to_string(), "ltv/3");
    assert_eq!((playbook.exploration.floor, playbook.exploration.holdout_salt.as_str()), (0.02, "spring"));
    let call = &playbook.actions[playbook.action_idx("call").unwrap()];
    assert_eq!((call.name.of(Language::Spanish), call.cost, call.cooldown_days), ("Llamada", 24.0, 14.0));
    assert_eq!((call.prior.weight, call.expires_days, call.costly), (50.0, 45.0, true));
    assert_eq!(playbook.contact.channels[call.channel.unwrap()].capacity, Some(Capacity { count: 450, days: 30.0 }));
    assert_eq!(playbook.actions[1].excludes, [0], "exclusion goes both ways");
    assert!(playbook.is_step(2) && playbook.is_step(1) && !playbook.is_step(0));
    assert_eq!(playbook.features().into_iter().collect::<Vec<_>>(), ["orders", "phone_consent", "tenure"]);
    assert_eq!(playbook.history_days(), 3650.0);
    assert_eq!(playbook.sha256(), Playbook::parse(WHOLE, &none()).unwrap().sha256());
}

#[test]
fn every_problem_is_told_with_line_and_fix() {
    let text = with_head("[[action]]\nid = \"call\"\ncost = -1\nchanel = \"x\"\neligible = \"features.a >\"\n");
    let problems = Playbook::parse(&text, &none()).unwrap_err();
    let lines: Vec<(usize, usize)> = problems.iter().map(|problem| (problem.place.line, problem.place.column)).collect();
    assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [7, 8, 9], "{}", told(&problems));
    assert_eq!(
        problems[0].to_string(),
        "line 7, column 8: `cost` in action `call` should be a number from 0 to 1000000000000, found `-1`; write a number from 0 to \
         1000000000000"
    );
    assert_eq!(problems[1].to_string(), "line 8, column 1: `chanel` means nothing in action `call`; did you mean `channel`?");
}

#[test]
fn what_cannot_be_is_refused() {
    let first = action("");
    refused(&format!("{first}{first}"), "line 10, column 6: there are two [[action]] with the id `call`");
    refused(&action("excludes = [\"cal\"]"), "action `call` excludes `cal`, and there is no such action; did you mean `call`?");
    refused(&action("excludes = [\"call\"]"), "excludes itself");
    refused(&action("prior = { effect = 2 }"), "`effect` in `prior` of action `call` should be a number from -1 to 1, found `2`");
    refused(&action("prior = { sd = 0 }"), "should be a number from 0.000001 to 1, found `0`");
    refused(&action("cost = inf"), "duplicate key");
    refused("[[action]]\nid = \"a\"\ncost = inf", "found `inf`");
    refused("[[action]]\nid = \"a\"\ncost = nan", "found `nan`");
    refused("[[action]]\nid = \"no_action\"\ncost = 0", "`no_action` is the action that is always there");
    refused("[[action]]\nid = \"a b\"\ncost = 0", "should be 1 to 64 of the letters");
    refused("[contact]\noverall = [{ days = 0, max = 1 }]", "should be a number from 0.01 to 36500, found `0`");
    refused("[contact]\noverall = [{ max = 1 }]", "says nothing of `days`");
    refused(&action("suppress = { rejectd = 3 }"), "is no outcome; did you mean `rejected`?");
    refused(&format!("[contact.channels.email]\n{}", action("channel = \"emial\"")), "did you mean `email`? or add");
    refused(&action("eligible = \"predictions.chrn.probability > 0.5\"\n[models]\nchurn = \"c\""), "did you mean `churn`?");
    refused(&action("eligible = \"signals.lo\"\n[[signal]]\nid = \"low\"\nwhen = \"features.a < 1\""), "did you mean `low`?");
    refused(&action("eligible = \"health.score > 50\""), "`health.score`: there is no health score; add `[health]`");
    refused(&action("eligible = \"history.count('cal', 30) > 1\""), "names `cal`, and there is no such channel or action");
    refused("[exploration]\nfloor = 0.6", "`floor` in [exploration] should be a number from 0 to 0.5, found `0.6`");
    refused("[exploration]\nmethod = \"tompson\"", "did you mean `thompson`?");
    refused("[contat]\n", "`contat` means nothing in the playbook; did you mean `contact`?");
    refused("[models]\nchurn = \"Telco\"", "a model name has 1 to 64");
}

#[test]
fn the_head_is_needed() {
    let without = |text: &str| told(&Playbook::parse(text, &none()).unwrap_err());
    assert!(without("").contains("there is no `[playbook]`"));
    assert!(without("[playbook]\nname = \"p\"\n").contains("says nothing of `currency`"));
    assert!(without("[playbook]\nname = \"p\"\ncurrency = \"dollar\"\n").contains("three capital letters"));
    let no_stake = "[playbook]\nname = \"p\"\ncurrency = \"USD\"\n[[action]]\nid = \"a\"\ncost = 0\n";
    assert!(without(no_stake).contains("action `a` has no value"));
    assert!(Playbook::parse(&format!("{no_stake}value = 3\n"), &none()).is_ok());
}

#[test]
fn hostile_files_are_refused() {
    let long = format!("{HEAD}# {}", "x".repeat(MAX_PLAYBOOK_BYTES));
    assert!(told(&Playbook::parse(&long, &none()).unwrap_err()).contains("at most 1048576 bytes"));
    refused(&action(&format!("eligible = \"{}\"", "1 + ".repeat(250_000))), "a text of at most 4096 bytes");
    refused(&action("eligible = \"[1].all(x, x > 0)\""), "line 8");
    refused(&action(&format!("eligible = \"{}1 == 1{}\"", "(".repeat(500), ")".repeat(500))), "line 8");
    refused(&format!("x = {}{}", "[".repeat(5_000), "]".repeat(5_000)), "line 5");
    refused(&action("eligible = \"features.a / 0 > 1\""), "line 8");
    let many = (0..501).map(|idx| format!("[[action]]\nid = \"a{idx}\"\ncost = 0\n")).collect::<Vec<_>>().concat();
    refused(&many, "at most 500 actions, found 501");
    let models = (0..70_000).map(|n| format!("m{n} = \"X\"\n")).collect::<Vec<_>>().concat();
    refused(&format!("[models]\n{models}"), "a model name has 1 to 64");
    let limits = "{ days = 1, max = 9 }, ".repeat(30_000);
    refused(&format!("[contact]\noverall = [{limits}]"), "at most 20 limits");
    let channels = (0..30_000).map(|n| format!("c{n} = {{ limits = [] }}\n")).collect::<Vec<_>>().concat();
    refused(&format!("[contact.channels]\n{channels}"), "at most 200 channels");
    for text in [
        "\u{feff}",
        "\0",
        "a",
        "[",
        "=",
        "[[action]]\nid=1",
        "action = 3",
        "contact = 1\naction = [1]",
        "[playbook]\npresets = 3",
    ] {
        assert!(Playbook::parse(text, &none()).is_err(), "{text:?}");
    }
}

#[test]
fn a_sequence_that_returns_to_itself_is_refused() {
    let sequence = |id: &str, steps: &str| format!("[[sequence]]\nid = \"{id}\"\nsteps = [{steps}]\n");
    let to = |id: &str| format!("{{ day = 1, sequence = \"{id}\" }}");
    refused(&sequence("a", &to("a")), "sequence `a` returns to itself: `a` → `a`");
    let circle = [sequence("a", &to("b")), sequence("b", &to("c")), sequence("c", &to("a"))].concat();
    refused(&circle, "sequence `a` returns to itself: `a` → `b` → `c` → `a`");
    // Each doubles the one before: 2^40 steps once they are written out.
    let doubled = (0..40)
        .map(|n| sequence(&format!("s{n}"), &format!("{0}, {0}", to(&format!("s{}", n + 1)))))
        .collect::<Vec<_>>()
        .concat();
    refused(&format!("{doubled}{}", sequence("s40", "")), "deep");
    let chain = (0..5_000).map(|n| sequence(&format!("s{n}"), &to(&format!("s{}", n + 1)))).collect::<Vec<_>>().concat();
    refused(&chain, "more than 16 deep");
    let nested = format!("{}{}{}", action(""), sequence("a", &to("b")), sequence("b", "{ day = 2, action = \"call\" }"));
    assert_eq!(read(&nested).sequences[0].steps, [Step { day: 3.0, action: 0 }]);
}

#[test]
fn sequences_have_an_order() {
    let steps = |steps: &str| format!("{}[[sequence]]\nid = \"s\"\nsteps = [{steps}]\n", action(""));
    refused(&steps("{ day = 3, action = \"call\" }, { day = 1, action = \"call\" }"), "on day 1 stands after one on day 3");
    refused(&steps("{ day = 3, action = \"cal\" }"), "names the action `cal`, and there is none; did you mean `call`?");
    refused(&steps("{ day = 3 }"), "names an action or a sequence");
    refused(&steps("{ action = \"call\" }"), "says nothing of `day`");
    refused(&format!("{}repeat_days = 5", steps("{ day = 9, action = \"call\" }")), "begins again after 5 days");
    refused("[[sequence]]\nid = \"s\"\n", "sequence `s` has no steps");
    warned(&steps("{ day = 1, action = \"call\" }").replace("cost = 1.0", "cost = 1.0\nenabled = false"), "waits for ever");
}

#[test]
fn contradictions_are_named() {
    refused(
        &action("eligible = \"features.a > 5 && features.a < 3\""),
        "line 8, column 12: `eligible` of action `call` can never hold: there is no value of `features.a` that fits",
    );
    refused(
        &action("eligible = \"features.a > 5\"\nsuitable = \"features.a <= 5\""),
        "`eligible`, `suitable` of action `call` can never hold together",
    );
    for never in [
        "false",
        "features.a == 'x' && features.a != 'x'",
        "features.a in ['x', 'y'] && features.a == 'z'",
        "features.a && !features.a",
        "!(features.a > 3 || features.a <= 3)",
        "(features.a > 3 && features.b < 1) && (features.a < 2 || features.b > 1)",
        "!has(features.a) && features.a > 1",
        "now.hour > 22 && now.hour < 23",
        "now.weekday > 7",
        "health.score > 100",
        "signal_count < 0",
        "signal_count > 1 && signal_count < 2",
        "history.count(30) < 0",
        "features.a > 3 ? features.a < 2 : features.a > 4",
        "3 > features.a && features.a > 3",
        "features.a >= 3 && features.a <= 3 && features.a != 3",
    ] {
        refused(&action(&format!("eligible = \"{never}\"")), "can never hold");
    }
    for possible in [
        "features.a >= 3 && features.a <= 3",
        "features.a > 3 || features.a < 2",
        "features.a && features.a == 1",
        "features.a > 2 && features.a < 3",
        "signal_count > 1 && signal_count < 3",
        "!(features.a > 3 && features.a <= 3)",
        "features.a + 1.0 > 5.0 && features.a < 3",
        "has(features.a) ? features.a > 3 : true",
        "features.a != 'x' && features.a != 'y'",
    ] {
        read(&format!("{}[[signal]]\nid = \"low\"\nwhen = \"features.b < 1\"\n", action(&format!("eligible = \"{possible}\""))));
    }
    refused(&action("eligible = \"predictions.c.band == 'hgih'\"\n[models]\nc = \"c\""), "can never hold");
    refused("[[signal]]\nid = \"low\"\nwhen = \"features.a < 0 && features.a > 0\"", "`when` of signal `low` can never hold");
    refused("[contact]\nquiet = \"now.hour >= 0\"", "`quiet` of every channel always holds");
}

#[test]
fn what_is_never_reached_is_warned_of() {
    let limits = |limits: &str| format!("[contact]\noverall = [{limits}]\n{}", action(""));
    warned(
        &limits("{ days = 7, max = 2 }, { days = 14, max = 4 }"),
        "the limit of all channels of 4 in 14 days is never reached",
    );
    warned(&limits("{ days = 7, max = 2 }, { days = 7, max = 2 }"), "is never reached");
    quiet(&limits("{ days = 7, max = 2 }, { days = 14, max = 3 }"));
    warned(&limits("{ days = 7, max = 0 }"), "lets nothing through");
    warned(&action("capacity = 0"), "keeps action `call` from ever being used");
    warned(
        &action("eligible = \"features.a > 5\"\nmandatory = \"features.a < 3\""),
        "is never mandatory while its other rules hold",
    );
    let sequence =
        |rules: &str| format!("{}[[sequence]]\nid = \"s\"\n{rules}\nsteps = [{{ day = 45, action = \"call\" }}]\n", action(""));
    warned(
        &sequence("since = \"features.age\"\nstop = \"features.age > 30\""),
        "sequence `s` has stopped before its step `call` on day 45",
    );
    quiet(&sequence("since = \"features.age\"\nstop = \"features.age > 60\""));
    refused(&sequence("start = \"features.a > 3\"\nstop = \"features.a > 2\""), "sequence `s` stops whenever it starts");
    let two = format!(
        "{}[[action]]\nid = \"mail\"\ncost = 0\neligible = \"features.a > 5\"\n",
        action("mandatory = \"features.a > 3\"")
    );
    warned(&two, "action `mail` is never chosen: whenever it can be, `call` is mandatory");
    warned("[exploration]\nholdout = 0\n", "without a holdout");
}

#[test]
fn presets_are_merged_by_id() {
    let preset = "[[action]]\nid = \"call\"\ncost = 9.0\n[[action]]\nid = \"mail\"\ncost = 2.0\nchannel = \"email\"\n";
    let presets = BTreeMap::from([("base".to_owned(), preset.to_owned())]);
    let text = format!("{}{}", HEAD.replace("\nvalue", "\npresets = [\"base\"]\nvalue"), action(""));
    let playbook = Playbook::parse(&text, &presets).unwrap();
    let costs: Vec<(&str, f64)> = playbook.actions.iter().map(|action| (action.id.as_str(), action.cost)).collect();
    assert_eq!(costs, [("call", 1.0), ("mail", 2.0)]);
    assert!(told(playbook.warnings()).contains("preset `base`, line 7, column 11: warning: channel `email` of action `mail`"));
    assert_eq!(playbook.sources().len(), 2);
    let changed = BTreeMap::from([("base".to_owned(), preset.replace("2.0", "3.0"))]);
    assert_ne!(playbook.sha256(), Playbook::parse(&text, &changed).unwrap().sha256());
    let missing = told(&Playbook::parse(&text.replace("[\"base\"]", "[\"bse\"]"), &presets).unwrap_err());
    assert!(missing.contains("line 4, column 12: there is no preset `bse`; did you mean `base`?"), "{missing}");
    let twice = told(&Playbook::parse(&text.replace("[\"base\"]", "[\"base\", \"base\"]"), &presets).unwrap_err());
    assert!(twice.contains("named twice"), "{twice}");
}

#[test]
fn unknown_features_are_told_with_the_nearest() {
    let playbook = read(&action("eligible = \"features.tenur > 3 && features['Monthly charges'] > 20\""));
    let problems = playbook.check_features(&["tenure", "Monthly charges"]);
    assert_eq!(told(&problems), "line 8, column 12: no model and no table has the feature `tenur`; did you mean `tenure`?");
    assert!(playbook.check_features(&["tenur", "Monthly charges"]).is_empty());
}
