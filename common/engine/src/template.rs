//! Text with references to variables: `{{#node.name#}}` (spec/engine.md §9).
