//! The ratios as bars: one panel per workload, one bar per proxy. Plain SVG that follows the reader's light or dark mode.

use std::fmt::Write;

use crate::{
    proxies::{BASELINE, OWN, PROXIES, Proxy},
    report::{Report, row},
    rounds::{Outcome, Row},
    statistics::Spread,
    transfer::Mode,
    workload::Load,
};

const COLUMNS: usize = 3;
const PANEL: f64 = 300.0;
/// The room for a proxy's name, left of its bar.
const NAME: f64 = 138.0;
/// The room for a number, right of the longest bar.
const NUMBER: f64 = 48.0;
const LINE: f64 = 17.0;
const BAR: f64 = 11.0;
/// A longer bar is cut off and ends in an arrow. Its number is not changed.
const LONGEST: f64 = 3.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; font-size: 13px; fill: #1f2328 }
.bar { fill: #8c959f } .own { fill: #0969da }
.one, .range { stroke: #1f2328; fill: none } .one { stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 } .title { fill: #f0f6fc } .bar { fill: #656c76 } .own { fill: #4493f8 }
.one, .range { stroke: #f0f6fc }
}";

/// Draws the workloads of the fast client.
pub fn draw(report: &Report) -> String {
    let outcomes = report.outcomes.iter().filter(|outcome| outcome.workload.load == Load::Own(Mode::Count));
    let outcomes: Vec<_> = outcomes.filter(|outcome| outcome.rows.iter().any(|row| row.ratio.is_some())).collect();
    let width = PANEL * COLUMNS as f64;
    let mut body = String::new();
    let mut y = 18.0;
    text(&mut body, "title", 4.0, y, &format!("CPU time per request, {BASELINE} = 1; shorter is better"));
    y += LINE;
    text(&mut body, "", 4.0, y, &format!("{}, {}", report.environment.date, report.environment));
    y += 10.0;
    for panels in outcomes.chunks(COLUMNS) {
        for (column, outcome) in panels.iter().enumerate() {
            panel(&mut body, outcome, PANEL * column as f64, y);
        }
        y += panels.iter().map(|outcome| panel_height(outcome)).fold(0.0, f64::max);
    }
    y += 6.0;
    for note in notes(report, &outcomes) {
        y += LINE;
        text(&mut body, "", 4.0, y, &note);
    }
    let height = y + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>CPU time per request as a multiple of {BASELINE}'s, by workload and proxy</title>\n<style>\n{STYLE}\n</style>\n\
         {body}</svg>\n"
    )
}

fn panel(svg: &mut String, outcome: &Outcome, left: f64, top: f64) {
    let scale = (PANEL - NAME - NUMBER) / LONGEST;
    let (start, one) = (left + NAME, left + NAME + scale);
    text(svg, "title", left + 4.0, top + 20.0, title(outcome));
    let first = top + 28.0;
    let rows: Vec<_> = charted(outcome).collect();
    for (number, (row, ratio)) in rows.iter().enumerate() {
        let y = first + LINE * number as f64;
        let (middle, base) = (y + BAR / 2.0, y + BAR - 1.0);
        let at = |value: f64| start + value.min(LONGEST) * scale;
        let class = if row.proxy.name == OWN { "own" } else { "bar" };
        let end = at(ratio.median);
        let name = format!("{}{}", row.proxy.name, mark(row.proxy));
        element(svg, format_args!("<text x=\"{:.1}\" y=\"{base}\" text-anchor=\"end\">{name}</text>", start - 6.0));
        let tip = if ratio.median > LONGEST { format!("l5 {} l-5 {0}", BAR / 2.0) } else { format!("v{BAR}") };
        element(svg, format_args!("<path class=\"{class}\" d=\"M{start} {y} H{end:.1} {tip} H{start} z\"/>"));
        if ratio.high > ratio.low && ratio.low < LONGEST {
            let (low, high) = (at(ratio.low), at(ratio.high));
            element(svg, format_args!("<path class=\"range\" d=\"M{low:.1} {middle} H{high:.1}\"/>"));
        }
        text(svg, "", number_x(ratio, start, scale), base, &format!("{:.2}", ratio.median));
    }
    let bottom = first + LINE * rows.len() as f64 - LINE + BAR;
    element(svg, format_args!("<path class=\"one\" d=\"M{one:.1} {} V{}\"/>", first - 3.0, bottom + 3.0));
    debug_assert!(bottom < top + panel_height(outcome));
}

/// Returns where a bar's number begins: right of the bar, of the range, and of the line at 1.
fn number_x(ratio: &Spread, start: f64, scale: f64) -> f64 {
    let end = ratio.median.max(ratio.high).clamp(1.0, LONGEST);
    start + end * scale + if ratio.median > LONGEST { 9.0 } else { 5.0 }
}

fn panel_height(outcome: &Outcome) -> f64 {
    LINE * charted(outcome).count() as f64 + 34.0
}

fn charted(outcome: &Outcome) -> impl Iterator<Item = (&Row, Spread)> {
    outcome.rows.iter().filter_map(|row| Some((row, row.ratio?)))
}

/// Returns the lines below the panels.
fn notes(report: &Report, outcomes: &[&Outcome]) -> Vec<String> {
    let rounds = report.pace.rounds;
    let mut notes = vec![
        format!("One worker or thread each, loopback. Bar: median of {rounds} rounds; thin line: their middle half."),
        format!(
            "{BASELINE} with buffers of 64 KiB except for small requests. Bodies of 1 MiB and messages of 64 KiB: fast client."
        ),
    ];
    let cut = |outcome: &&Outcome| charted(outcome).any(|(_, ratio)| ratio.median > LONGEST);
    if outcomes.iter().any(cut) {
        notes.push(format!("A bar with a tip is longer than shown (more than {LONGEST})."));
    }
    let drawn = |proxy: &&Proxy| outcomes.iter().any(|outcome| row(outcome, proxy).is_some());
    for proxy in report.proxies().filter(drawn) {
        if let Some(note) = proxy.incomplete {
            notes.push(format!("{} {}: {note}.", mark(proxy), proxy.name));
        }
    }
    notes
}

/// Returns the footnote mark of an incomplete proxy.
fn mark(proxy: &Proxy) -> &'static str {
    let mut incomplete = PROXIES.iter().filter(|proxy| proxy.incomplete.is_some());
    match incomplete.position(|other| other.name == proxy.name) {
        Some(0) => "¹",
        Some(1) => "²",
        Some(_) => "³",
        None => "",
    }
}

fn title(outcome: &Outcome) -> &'static str {
    match outcome.workload.name {
        "small" => "small GET",
        "fields" => "small GET, 30 more headers",
        "latency" => "small GET, one connection",
        "download" => "1 MiB down",
        "echo" => "1 MiB up and down",
        "new" => "new connection per request",
        "h2c" => "small GET over HTTP/2",
        "ws64" => "WebSocket, 64 B",
        "ws64k" => "WebSocket, 64 KiB",
        name => name,
    }
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    element(svg, format_args!("<text{class} x=\"{x:.1}\" y=\"{y}\">{text}</text>"));
}

fn element(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::tests::report,
        workload::{WORKLOADS, Workload},
    };

    const SCALE: f64 = (PANEL - NAME - NUMBER) / LONGEST;

    /// A report of every workload and proxy with ratios from far below 1 to far above [`LONGEST`].
    fn full() -> Report {
        let ratios = [0.5, 1.0, 0.97, 1.06, 2.99, 12.34, 0.08];
        let able = |workload: &Workload| -> Vec<(&'static str, f64)> {
            let proxies = PROXIES.iter().zip(ratios).filter(|(proxy, _)| proxy.can(workload.kind));
            proxies.map(|(proxy, ratio)| (proxy.name, ratio)).collect()
        };
        let rows: Vec<_> = WORKLOADS.iter().map(|workload| (workload.name, able(workload))).collect();
        report(&rows.iter().map(|(name, rows)| (*name, rows.as_slice())).collect::<Vec<_>>())
    }

    /// The `x`, `y` and content of every text.
    fn texts(svg: &str) -> Vec<(f64, f64, String, bool)> {
        let attribute = |tag: &str, name: &str| -> f64 {
            tag.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
        };
        let texts = svg.lines().filter(|line| line.starts_with("<text"));
        let parsed = texts.map(|line| {
            let (tag, rest) = line.split_once('>').unwrap();
            let content = rest.strip_suffix("</text>").unwrap().to_owned();
            (attribute(tag, "x"), attribute(tag, "y"), content, tag.contains("\"end\""))
        });
        parsed.collect()
    }

    /// The texts' boxes, by an upper bound of a character's width.
    fn boxes(svg: &str) -> Vec<([f64; 4], String)> {
        let texts = texts(svg).into_iter().map(|(x, y, content, ends)| {
            let width = content.chars().count() as f64 * 7.2;
            let left = if ends { x - width } else { x };
            ([left, y - 10.0, left + width, y + 3.0], content)
        });
        texts.collect()
    }

    #[test]
    fn no_text_overlaps_another_or_leaves_the_picture() {
        let svg = draw(&full());
        let height: f64 = svg.split_once("viewBox=\"0 0 900 ").unwrap().1.split('"').next().unwrap().parse().unwrap();
        let boxes = boxes(&svg);
        for (number, ([left, top, right, bottom], content)) in boxes.iter().enumerate() {
            assert!(*left >= 0.0 && *top >= 0.0 && *right <= 900.0 && *bottom <= height, "{content:?} is cut off");
            for ([other_left, other_top, other_right, other_bottom], other) in &boxes[number + 1..] {
                let apart = right <= other_left || other_right <= left || bottom <= other_top || other_bottom <= top;
                assert!(apart, "{content:?} overlaps {other:?}");
            }
        }
    }

    #[test]
    fn every_number_is_right_of_its_bar_and_of_the_line_at_one() {
        for median in [0.08, 0.5, 0.97, 1.0, 1.06, 2.99, 12.34] {
            let ratio = Spread { low: median * 0.9, median, high: median * 1.1 };
            let x = number_x(&ratio, 0.0, SCALE);
            assert!(x >= SCALE + 4.0 && x >= median.min(LONGEST) * SCALE + 4.0, "{median}: {x}");
            assert!(x + 36.0 <= PANEL - NAME, "{median}: {x} is in the next panel");
        }
    }

    #[test]
    fn date_machine_and_footnotes_are_in_the_picture() {
        let svg = draw(&full());
        for part in [
            "2026-01-31, Some &lt;CPU> &amp; more, 2 cores, Linux 6.1.0<",
            ">relay²<",
            ">² relay: copies bytes, no HTTP: the lower bound for small requests.<",
            ">axum-legacy¹<",
            ">¹ axum-legacy: forwards without removing or adding headers: not a complete proxy.<",
            ">nexthop<",
            ">12.34<",
            "A bar with a tip is longer than shown (more than 3).",
            "prefers-color-scheme: dark",
        ] {
            assert!(svg.contains(part), "no {part:?} in\n{svg}");
        }
    }

    #[test]
    fn no_font_is_below_12_pixels() {
        let sizes = STYLE.split("px").filter_map(|part| part.rsplit([' ', ':']).next()?.parse::<u32>().ok());
        let sizes: Vec<_> = sizes.collect();
        assert_eq!(sizes, [12, 13]);
    }

    #[test]
    fn only_the_fast_client_is_charted() {
        let panels = draw(&full()).matches("class=\"one\"").count();
        let fast = WORKLOADS.iter().filter(|workload| workload.load == Load::Own(Mode::Count)).count();
        assert_eq!((panels, fast), (9, 9));
    }

    #[test]
    fn a_proxy_that_was_not_measured_has_no_footnote() {
        let svg = draw(&report(&[("small", &[("nexthop", 0.9), ("nginx", 1.0)])]));
        assert!(!svg.contains('²') && !svg.contains("longer than shown"), "{svg}");
    }
}
