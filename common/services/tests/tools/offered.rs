//! What an MCP server offers, over its streams and over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value as Json, json};

/// A server. It counts its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offered {
    calls: Arc<AtomicU64>,
}

fn tool(name: &'static str, about: &'static str, properties: Json, required: Json) -> Tool {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    let Json::Object(schema) = schema else { unreachable!("an object") };
    Tool::new(name, about, schema)
}

impl ServerHandler for Offered {
    fn get_info(&self) -> ServerConfig {
        let mut config = ServerConfig::default();
        config.capabilities = ServerCapabilities::builder().enable_tools().build();
        config
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let city = json!({"city": {"type": "string", "description": "where"}, "days": {"type": "integer", "default": 1}});
        Ok(ListToolsResult::with_all_items(vec![
            tool("weather", "Tells the weather.", city, json!(["city"])),
            tool("picture", "Draws.", json!({}), json!([])),
            tool("count", "Counts calls of this process.", json!({}), json!([])),
            tool("fail", "Fails.", json!({}), json!([])),
            tool("die", "Ends the server.", json!({}), json!([])),
            tool("sleep", "Takes long.", json!({}), json!([])),
        ]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let given = request.arguments.unwrap_or_default();
        let result = match &*request.name {
            "weather" => {
                let said = json!({"city": given.get("city"), "days": given.get("days")});
                let text = format!("sunny in {}", said["city"].as_str().unwrap_or("nowhere"));
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(said);
                result
            }
            "picture" => CallToolResult::success(vec![ContentBlock::image("YWI=", "image/png")]),
            "count" => CallToolResult::success(vec![ContentBlock::text(calls.to_string())]),
            "fail" => CallToolResult::error(vec![ContentBlock::text("no such city")]),
            "die" => {
                use std::io::Write as _;
                // the end of it is the point
                let _ = writeln!(std::io::stderr(), "told to die");
                std::process::exit(3)
            }
            "sleep" => {
                tokio::time::sleep(std::time::Duration::from_mins(1)).await;
                CallToolResult::success(Vec::new())
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(result.into())
    }
}
