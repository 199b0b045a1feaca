//! The HTTP server of a simulated account.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::schema::{self, Auth, Schema};
use super::{Fault, SimStack, Simulator, World};

/// Starts the HTTP server of a simulated account with these stacks.
///
/// # Errors
///
/// If no port can be opened.
pub async fn start(stacks: Vec<SimStack>) -> std::io::Result<Simulator> {
    let world = World {
        stacks: stacks
            .into_iter()
            .map(|stack| (stack.id.clone(), stack))
            .collect(),
        deliveries: 1,
        may_trigger: true,
        ..World::default()
    };
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let simulator = Simulator {
        world: Arc::new(Mutex::new(world)),
        address: listener.local_addr()?,
    };
    let state = Served {
        schema: schema::build(simulator.clone()),
        simulator: simulator.clone(),
    };
    let router = Router::new().route("/graphql", post(answer)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(simulator)
}

#[derive(Clone)]
struct Served {
    schema: Schema,
    simulator: Simulator,
}

async fn answer(State(served): State<Served>, headers: HeaderMap, body: String) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON").into_response();
    };
    let operation = request["operationName"].as_str().unwrap_or_default().to_owned();
    let fault = {
        let mut world = served.simulator.world();
        *world.requests.entry(operation.clone()).or_default() += 1;
        let at = world.faults.iter().position(|(name, _)| *name == operation);
        at.map(|at| world.faults.remove(at).1)
    };
    let html = || {
        (
            StatusCode::BAD_GATEWAY,
            [(header::CONTENT_TYPE, "text/html")],
            "<html><h1>502 Bad Gateway</h1></html>",
        )
    };
    match fault {
        Some(Fault::TooMany(seconds)) => {
            return (
                StatusCode::TOO_MANY_REQUESTS,
                [(header::RETRY_AFTER, seconds.to_string())],
                "slow down",
            )
                .into_response();
        }
        Some(Fault::Html) => return html().into_response(),
        Some(Fault::Unauthorized) => return (StatusCode::UNAUTHORIZED, "token expired").into_response(),
        Some(Fault::Expired) => served.simulator.world().tokens.clear(),
        // It applies after the operation has taken effect.
        Some(Fault::Lost) | None => {}
    }
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|it| it.to_str().ok())
        .and_then(|it| it.strip_prefix("Bearer "));
    let is_known = {
        let world = served.simulator.world();
        token.is_some_and(|token| {
            world
                .tokens
                .get(token)
                .is_some_and(|until| *until > SystemTime::now())
        })
    };
    let document = request["query"].as_str().unwrap_or_default();
    if let Some(message) = schema::mistyped_variable(document) {
        served.simulator.world().refusals.push(message.clone());
        return axum::Json(json!({ "data": null, "errors": [{ "message": message }] })).into_response();
    }
    let query = async_graphql::Request::new(document)
        .variables(async_graphql::Variables::from_json(request["variables"].clone()))
        .operation_name(operation)
        .data(Auth { is_known });
    let answered = served.schema.execute(query).await;
    let errors: Vec<Value> = answered
        .errors
        .iter()
        .map(|error| json!({ "message": error.message, "path": null }))
        .collect();
    served
        .simulator
        .world()
        .refusals
        .extend(answered.errors.iter().map(|error| error.message.clone()));
    if fault == Some(Fault::Lost) {
        return html().into_response();
    }
    let data = serde_json::to_value(&answered.data).unwrap_or(Value::Null);
    let body = if errors.is_empty() {
        json!({ "data": data })
    } else {
        json!({ "data": data, "errors": errors })
    };
    axum::Json(body).into_response()
}
