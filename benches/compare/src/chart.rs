//! The ratios as bars: one panel for each workload, one bar for each proxy. Plain SVG that follows the reader's light or dark mode.

use std::fmt::Write;

use crate::{
    proxies::BASELINE,
    report::{Report, row},
    rounds::Outcome,
};

const COLUMNS: usize = 3;
const PANEL: f64 = 300.0;
const LABEL: f64 = 122.0;
const BAR: f64 = 14.0;
const LONGEST: f64 = 3.0; // a longer bar is cut, its number is not

const STYLE: &str = "\
text { font: 11px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; fill: #1f2328 }
.bar { fill: #8c959f } .ours { fill: #0969da }
.one { stroke: #1f2328; stroke-dasharray: 2 2 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 } .title { fill: #f0f6fc } .bar { fill: #656c76 } .ours { fill: #4493f8 } .one { stroke: #f0f6fc }
}";

pub fn draw(report: &Report) -> String {
    let panel_height = BAR * (report.proxies().count() as f64 + 3.0);
    let rows = report.outcomes.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL * COLUMNS as f64, panel_height * rows as f64 + 24.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>CPU time per request as a multiple of {BASELINE}'s, by workload and proxy</title>\n<style>\n{STYLE}\n</style>\n\
         <text class=\"title\" x=\"4\" y=\"14\">CPU time per request, {BASELINE} = 1; shorter is better</text>\n"
    );
    for (number, outcome) in report.outcomes.iter().enumerate() {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        panel(&mut svg, report, outcome, PANEL * column as f64, panel_height * row as f64 + 24.0);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, report: &Report, outcome: &Outcome, left: f64, top: f64) {
    let scale = (PANEL - LABEL - 46.0) / LONGEST;
    let (start, one) = (left + LABEL, left + LABEL + scale);
    let mut text = |line: std::fmt::Arguments<'_>| svg.write_fmt(line).expect("a String takes all that is written");
    text(format_args!("<text class=\"title\" x=\"{}\" y=\"{}\">{}</text>\n", left + 4.0, top + 14.0, title(outcome)));
    let mut y = top + 22.0;
    for (proxy, ratio) in report.proxies().filter_map(|proxy| Some((proxy, row(outcome, proxy)?.ratio?))) {
        let class = if proxy.name == "ours" { "ours" } else { "bar" };
        let (width, base) = (ratio.min(LONGEST) * scale, y + BAR - 4.0);
        text(format_args!("<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\n", start - 6.0, proxy.name));
        text(format_args!(
            "<rect class=\"{class}\" x=\"{start}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\"/>\n",
            BAR - 4.0
        ));
        text(format_args!("<text x=\"{:.1}\" y=\"{base}\">{ratio:.2}</text>\n", start + width + 4.0));
        y += BAR;
    }
    text(format_args!("<path class=\"one\" d=\"M{one:.1} {} V{y}\"/>\n", top + 20.0));
}

fn title(outcome: &Outcome) -> &'static str {
    match outcome.workload.name {
        "small" => "small GET",
        "fields" => "GET with 30 more fields",
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
