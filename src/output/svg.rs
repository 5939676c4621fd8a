//! An SVG drawing that grows element by element. What is text is escaped; attributes are the caller's, as they are.

use std::fmt::{Arguments, Write};

/// Text for an element or an attribute of XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Coordinates are pixels to the right and downwards; `attributes` are further ones of an element (`class="grid"`).
pub(crate) struct Svg {
    out: String,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64, attributes: &str) -> Self {
        let mut svg = Self { out: String::new() };
        svg.add(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {attributes}>"#
        ));
        svg
    }

    /// Appends one element; writing to a String cannot fail.
    fn add(&mut self, element: Arguments<'_>) {
        let _ = self.out.write_fmt(element);
        self.out.push('\n');
    }

    pub(crate) fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], attributes: &str) {
        self.add(format_args!(r#"<line x1="{x1:.1}" x2="{x2:.1}" y1="{y1:.1}" y2="{y2:.1}" {attributes}/>"#));
    }

    pub(crate) fn rect(&mut self, x: f64, y: f64, [width, height]: [f64; 2], attributes: &str) {
        self.add(format_args!(r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" {attributes}/>"#));
    }

    /// A rectangle that says `title` when it is pointed at.
    pub(crate) fn titled_rect(&mut self, x: f64, y: f64, [width, height]: [f64; 2], attributes: &str, title: &str) {
        let title = escape(title);
        self.add(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" {attributes}><title>{title}</title></rect>"#
        ));
    }

    /// `anchor` is what of the text is at `x`: its start, middle or end.
    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: &str, attributes: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {attributes}>{text}</text>"#));
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut svg = Svg::new(20.0, 10.5, "fill=\"#222\"");
        svg.text(1.0, 2.0, "end", "class=\"small\"", "a<b & \"c\">");
        svg.titled_rect(0.0, 0.0, [3.0, 4.0], "class=\"time\"", "<t>");
        let expected = [
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10.5" fill="#222">"##,
            r#"<text x="1.0" y="2.0" text-anchor="end" class="small">a&lt;b &amp; &quot;c&quot;&gt;</text>"#,
            r#"<rect x="0.00" y="0.00" width="3.00" height="4.00" class="time"><title>&lt;t&gt;</title></rect>"#,
            "</svg>\n",
        ];
        assert_eq!(svg.finish(), expected.join("\n"));
    }
}
