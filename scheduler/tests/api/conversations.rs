//! Chats go on where their conversations were.

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, greeting};

const CHAT: &str = include_str!("../../../examples/chat-greeting.yml");

async fn says(server: &Server, body: Json) -> (Json, Json) {
    let accepted = server.submit(body).await.json(202);
    let path = format!("/api/v1/runs/{}?wait=30s", accepted["id"].as_str().unwrap());
    let ended = server.get(&path).await.json(200);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["conversation_id"], accepted["conversation_id"]);
    (accepted, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_turn_wrote_is_there_in_the_next() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(CHAT).await;
    server.push(&greeting()).await;
    let body = |query: &str, conversation: Option<&Json>| {
        let mut body = json!({"workflow": "Chat greeting", "query": query});
        if let Some(conversation) = conversation {
            body["conversation_id"] = conversation.clone();
        }
        body
    };
    let (first, ended) = says(server, body("ada lovelace", None)).await;
    let conversation = &first["conversation_id"];
    assert!(ended["outputs"]["answer"].as_str().unwrap().contains("Ada"), "{ended}");
    let path = format!("/api/v1/conversations/{}", conversation.as_str().unwrap());
    let kept = server.get(&path).await.json(200);
    assert_eq!((&kept["workflow"], &kept["turns"]), (&json!("Chat greeting"), &json!(1)));
    assert_eq!(kept["variables"]["visits"], 1);

    let (second, ended) = says(server, body("again", Some(conversation))).await;
    assert_eq!(&second["conversation_id"], conversation);
    assert!(ended["outputs"]["answer"].as_str().unwrap().contains("Ada"), "{ended}");
    let kept = server.get(&path).await.json(200);
    assert_eq!((&kept["turns"], &kept["variables"]["visits"]), (&json!(2), &json!(2)));
    // another conversation knows nothing of it
    let (other, ended) = says(server, body("grace hopper", None)).await;
    assert_ne!(&other["conversation_id"], conversation);
    assert!(ended["outputs"]["answer"].as_str().unwrap().contains("Grace"), "{ended}");

    // what was given wins
    let mut given = body("once more", Some(conversation));
    given["conversation"] = json!({"visits": 41});
    says(server, given).await;
    assert_eq!(server.get(&path).await.json(200)["variables"]["visits"], 42);

    let unknown = json!("00000000-0000-7000-8000-000000000000");
    let refused = server.submit(body("hi", Some(&unknown))).await;
    refused.problem(404, "conversation_not_found");
    server.get("/api/v1/conversations/x").await.problem(404, "conversation_not_found");
    let mut elsewhere = json!({"workflow": "greeting", "inputs": {"who": "Ada"}});
    elsewhere["conversation_id"] = conversation.clone();
    server.submit(elsewhere).await.problem(422, "invalid_request");
    server.push(&CHAT.replace("name: Chat greeting", "name: Another chat")).await;
    let mut foreign = body("hi", Some(conversation));
    foreign["workflow"] = json!("Another chat");
    server.submit(foreign).await.problem(404, "conversation_not_found");
}

#[tokio::test]
async fn a_duplicate_tells_the_conversation_of_the_first() {
    let server = Server::alone().await;
    server.push(CHAT).await;
    let body = json!({"workflow": "Chat greeting", "query": "ada"});
    let first = server.submit_as("k", &body).await.json(202);
    let again = server.submit_as("k", &body).await.json(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    assert_eq!(again["conversation_id"], first["conversation_id"]);
    let path = format!("/api/v1/conversations/{}", first["conversation_id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(200)["turns"], 1);
}
