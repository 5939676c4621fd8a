//! A check's result as JUnit XML: one suite, a test case for each row, and one for each regression.

use quick_xml::Writer;
use quick_xml::events::BytesText;

use crate::check::{Outcome, Row};

/// The document.
pub(super) fn document(outcome: &Outcome, regressions: &[String]) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let failures = outcome.complaints().len() + regressions.len();
    // Without the start the sum of nothing is -0.
    let seconds = outcome.rows.iter().filter_map(|r| r.seconds).fold(0.0, |sum, s| sum + s);
    let counts = [
        ("name", format!("pid check on {}", outcome.device)),
        ("tests", (outcome.rows.len() + regressions.len()).to_string()),
        ("failures", failures.to_string()),
        ("errors", "0".into()),
        ("time", seconds.to_string()),
    ];
    let attributes = || counts.iter().map(|(key, value)| (*key, value.as_str()));
    let written = writer.create_element("testsuites").write_inner_content(|writer| {
        writer.create_element("testsuite").with_attributes(attributes()).write_inner_content(|writer| {
            outcome.rows.iter().try_for_each(|row| test_case(writer, row))?;
            regressions.iter().try_for_each(|regression| {
                let name = regression.split(':').next().unwrap_or(regression);
                case(writer, "baseline", name, 0.0, Some(regression))
            })
        })?;
        Ok(())
    });
    written.expect("writing to a vector does not fail");
    let body = String::from_utf8(writer.into_inner()).expect("what is written is text");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}\n")
}

fn test_case(writer: &mut Writer<Vec<u8>>, row: &Row) -> std::io::Result<()> {
    case(writer, &row.case, &row.kernels, row.seconds.unwrap_or(0.0), row.complaint().as_deref())
}

fn case(
    writer: &mut Writer<Vec<u8>>,
    class: &str,
    name: &str,
    seconds: f64,
    complaint: Option<&str>,
) -> std::io::Result<()> {
    let seconds = seconds.to_string();
    let attributes = [("classname", class), ("name", name), ("time", &seconds)];
    let element = writer.create_element("testcase").with_attributes(attributes);
    match complaint {
        None => element.write_empty()?,
        Some(complaint) => element.write_inner_content(|writer| {
            let failure = writer.create_element("failure").with_attribute(("message", complaint));
            failure.write_text_content(BytesText::new(complaint))?;
            Ok(())
        })?,
    };
    Ok(())
}
