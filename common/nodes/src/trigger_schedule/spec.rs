//! What a `trigger-schedule` node's data holds.

use flowmill_engine::graph::Fields;

use crate::catalogue::{FieldDoc, FieldKind, field};

const MODES: &[&str] = &["visual", "cron"];
const FREQUENCIES: &[&str] = &["hourly", "daily", "weekly", "monthly"];

pub(super) const FIELDS: &[FieldDoc] = &[
    field("mode", FieldKind::Word(MODES), "\"visual\"", "how the times are given"),
    field("frequency", FieldKind::Word(FREQUENCIES), "null", "how often, in visual mode"),
    field("cron_expression", FieldKind::Text, "null", "the times, in cron mode"),
    field(
        "visual_config",
        FieldKind::Mapping,
        "null",
        "{on_minute, time, weekdays, monthly_days}, in visual mode",
    ),
    field("timezone", FieldKind::Text, "\"UTC\"", "the zone of the times"),
];

pub(super) const EXAMPLE: &str = r#"{
    "mode": "visual", "frequency": "daily", "cron_expression": "",
    "visual_config": {"time": "9:00 AM"}, "timezone": "UTC"
}"#;

pub(super) fn read(fields: &mut Fields<'_>) {
    fields.one_of_or("mode", MODES, "visual");
    // the editor leaves an empty text in cron mode
    let frequency = fields.given("frequency").filter(|item| item.as_str() != Some(""));
    if frequency.is_some() {
        fields.one_of("frequency", FREQUENCIES);
    }
    fields.text_opt("cron_expression");
    fields.mapping_opt("visual_config", |_| ());
    fields.text_or("timezone", "UTC");
}
