//! A small MCP server over its streams, for the tests. It ends when it is asked to die, and says so
//! on its stderr.

#[path = "../tests/tools/offered.rs"]
mod offered;

use rmcp::ServiceExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let missing = std::env::var("OFFERED_NEEDS").ok().filter(|_| std::env::var("KEY").is_err());
    if let Some(name) = missing {
        return Err(format!("{name} is not set").into());
    }
    let server = offered::Offered::default().serve(rmcp::transport::stdio()).await?;
    server.waiting().await?;
    Ok(())
}
