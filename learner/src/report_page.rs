//! The report as one page that needs no other file: the Markdown form, with the plots in place.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// How the page looks.
const STYLE: &str =
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;display:block;overflow-x:auto;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid #ccc;padding:.25rem .6rem;text-align:left;white-space:nowrap}
pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}svg{max-width:100%;height:auto}";

/// Returns the page of a report in Markdown. `plots` are the files that it names, with their SVG.
pub(crate) fn page(title: &str, markdown: &str, plots: &[(&str, &str)]) -> String {
    let mut inside_plot = false;
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Image { dest_url, .. }) => {
            let plot = plots.iter().find(|(name, _)| *name == &*dest_url)?;
            inside_plot = true;
            Some(Event::Html(plot.1.to_owned().into()))
        }
        Event::End(TagEnd::Image) => {
            inside_plot = false;
            None
        }
        // The words for who cannot see the plot: its own caption says them.
        _ if inside_plot => None,
        // Names of attacks come from files: what looks like HTML in them is text.
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        event => Some(event),
    });
    let mut body = String::new();
    pulldown_cmark::html::push_html(&mut body, events);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_plots_stand_in_the_page_and_what_is_text_stays_text() {
        let markdown = "# A & B\n\n| method | PR |\n|---|---|\n| a < b | 0.5 |\n\n![ROC](roc.svg)\n";
        let page = page("Evaluation", markdown, &[("roc.svg", "<svg><path/></svg>")]);
        for part in ["<title>Evaluation</title>", "<td>a &lt; b</td>", "<svg><path/></svg>", "A &amp; B"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<img"), "{page}");
    }

    #[test]
    fn a_name_that_is_html_is_shown_and_not_run() {
        let page =
            page("Evaluation", "| attack |\n|---|\n| <script>alert(1)</script> |\n\n<b>bold</b>\n", &[]);
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    }
}
