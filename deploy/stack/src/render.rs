//! Renders the configuration of the server and the web UI as JSON, which is valid YAML and needs no special
//! quoting.

use serde_json::{Value, json};

use crate::certificates::{FRONTEND_NAME, INTERNODE_NAME};
use crate::place::{DATABASES, Place, Stack, USER};
use crate::roles::{Member, Role};
use crate::search;

/// Returns the configuration of one server process.
///
/// # Errors
///
/// If the password of the search cluster cannot be read.
pub fn server(place: &Place, stack: &Stack, member: Member, password: &str) -> anyhow::Result<Value> {
    let settings = &stack.settings;
    let loopback = &stack.network().loopback;
    let ip = member.ip(loopback);
    let store = |database: &str| {
        json!({ "sql": {
            "pluginName": "postgres12",
            "connectProtocol": "tcp",
            "connectAddr": stack.network().pgbouncer(),
            "databaseName": database,
            "user": USER,
            "password": password,
            "maxConns": settings.database.max_conns,
            // With fewer, connections are closed and reopened under load, which becomes a storm after an
            // outage.
            "maxIdleConns": settings.database.max_conns,
            "maxConnLifetime": "1h",
            // PgBouncer in transaction mode loses prepared statements. Without this parameter, the frontend
            // never becomes healthy.
            "connectAttributes": { "binary_parameters": "yes" },
        }})
    };
    let visibility = if settings.search.url.is_some() {
        search::datastore(&settings.search)?
    } else {
        store(DATABASES[1])
    };
    let services: serde_json::Map<String, Value> = Role::ALL
        .into_iter()
        .map(|role| {
            let mut rpc = json!({
                "grpcPort": role.grpc_port(), "membershipPort": role.membership_port(), "bindOnIP": ip,
            });
            if role == Role::Frontend {
                rpc["httpPort"] = json!(7243);
            }
            (role.to_string(), json!({ "rpc": rpc }))
        })
        .collect();
    Ok(json!({
        "log": { "stdout": true, "level": settings.server.log_level, "format": "json" },
        "persistence": {
            "numHistoryShards": settings.server.history_shards,
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "datastores": { "default": store(DATABASES[0]), "visibility": visibility },
        },
        "global": {
            "membership": { "maxJoinDuration": "30s", "broadcastAddress": ip },
            "metrics": { "prometheus": { "timerType": "histogram", "listenAddress": member.metrics(loopback) } },
            "tls": tls(place),
        },
        "services": services,
        "clusterMetadata": {
            "enableGlobalNamespace": false,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": { "active": {
                "enabled": true, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": stack.network().frontend(),
            }},
        },
        "dcRedirectionPolicy": { "policy": "noop" },
        "archival": archival(stack),
        // Only `apply` enables archival, for the namespaces that declare it.
        "namespaceDefaults": { "archival": {
            "history": { "state": "disabled", "URI": archive_uri(place, stack, "history") },
            "visibility": { "state": "disabled", "URI": archive_uri(place, stack, "visibility") },
        }},
        "dynamicConfigClient": { "filepath": place.dynamic_config(), "pollInterval": "10s" },
    }))
}

fn tls(place: &Place) -> Value {
    let file = |name: &str| place.tls().join(name).display().to_string();
    json!({
        // By default, the server never reloads them.
        "refreshInterval": "1m",
        "expirationChecks": { "warningWindow": "240h", "errorWindow": "48h", "checkInterval": "6h" },
        "internode": {
            "server": {
                "certFile": file("internode.pem"), "keyFile": file("internode.key"),
                "requireClientAuth": true, "clientCaFiles": [file("internode-ca.pem")],
            },
            "client": { "serverName": INTERNODE_NAME, "rootCaFiles": [file("internode-ca.pem")] },
        },
        "frontend": {
            "server": {
                "certFile": file("frontend.pem"), "keyFile": file("frontend.key"),
                "requireClientAuth": true, "clientCaFiles": [file("client-ca.pem")],
            },
            "client": { "serverName": FRONTEND_NAME, "rootCaFiles": [file("client-ca.pem")] },
        },
        "systemWorker": {
            "certFile": file("system-worker.pem"), "keyFile": file("system-worker.key"),
            "client": { "serverName": FRONTEND_NAME, "rootCaFiles": [file("client-ca.pem")] },
        },
    })
}

/// Returns the URI of an archive.
pub fn archive_uri(place: &Place, stack: &Stack, kind: &str) -> String {
    let archival = &stack.settings.archival;
    let declared = if kind == "history" {
        &archival.history
    } else {
        &archival.visibility
    };
    declared
        .clone()
        .unwrap_or_else(|| format!("file://{}/archive/{kind}", place.folder().display()))
}

fn archival(stack: &Stack) -> Value {
    let archival = &stack.settings.archival;
    if !archival.enabled {
        return json!({ "history": { "state": "disabled" }, "visibility": { "state": "disabled" } });
    }
    let mut provider = json!({ "filestore": { "fileMode": "0600", "dirMode": "0700" } });
    if let Some(region) = &archival.s3_region {
        provider["s3store"] = json!({ "region": region });
        if let Some(endpoint) = &archival.s3_endpoint {
            provider["s3store"]["endpoint"] = json!(endpoint);
            // Such services often have no host name for each bucket.
            provider["s3store"]["s3ForcePathStyle"] = json!(true);
        }
    }
    if let Some(credentials) = &archival.gcs_credentials {
        provider["gstorage"] = json!({ "credentialsPath": credentials });
    }
    json!({
        "history": { "state": "enabled", "enableRead": true, "provider": provider },
        "visibility": { "state": "enabled", "enableRead": true, "provider": provider },
    })
}

/// Returns Temporal's dynamic configuration. A value without constraints applies everywhere.
pub fn dynamic_config(stack: &Stack) -> Value {
    let entries = stack.settings.dynamic_config.iter().map(|(key, value)| {
        // Any other list is itself the value.
        let is_list = value
            .as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(|entry| entry.get("value").is_some()));
        let value = if is_list {
            value.clone()
        } else {
            json!([{ "value": value }])
        };
        (key.clone(), value)
    });
    Value::Object(entries.collect())
}

/// Returns the configuration of the web UI.
pub fn ui(place: &Place, stack: &Stack) -> Value {
    let file = |name: &str| place.tls().join(name).display().to_string();
    let address = stack.network().ui();
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "8080"));
    json!({
        "temporalGrpcAddress": stack.network().frontend(),
        "host": host,
        "port": port.parse::<u16>().unwrap_or(8080),
        "enableUi": true,
        "defaultNamespace": stack.settings.namespaces.first().map_or("default", |first| &first.name),
        "disableNewsFetch": true,
        "cors": { "allowOrigins": [format!("http://{address}")] },
        "tls": {
            "caFile": file("client-ca.pem"), "certFile": file("client.pem"), "keyFile": file("client.key"),
            "enableHostVerification": true, "serverName": FRONTEND_NAME,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Programs;
    use crate::settings::{DEFAULT, Settings};

    fn stack(text: &str) -> Stack {
        Stack {
            settings: Settings::parse(text).expect("valid"),
            postgres_programs: "/usr/lib/postgresql/15/bin".into(),
            programs: Programs {
                server: "temporal-server".into(),
                sql_tool: "temporal-sql-tool".into(),
                ui: "temporal-ui-server".into(),
                pgbouncer: "pgbouncer".into(),
            },
            simulated_cloud: true,
        }
    }

    fn place() -> Place {
        Place::find(Some("/run/stack".as_ref())).expect("a place")
    }

    #[test]
    fn every_process_has_its_own_address_and_the_usual_ports() {
        let stack = stack(DEFAULT);
        let member = Member::parse("history-2").expect("a member");
        let config = server(&place(), &stack, member, "secret").expect("rendered");
        assert_eq!(config["services"]["history"]["rpc"]["bindOnIP"], "127.77.2.2");
        assert_eq!(config["services"]["history"]["rpc"]["grpcPort"], 7234);
        assert_eq!(config["global"]["membership"]["broadcastAddress"], "127.77.2.2");
        let store = &config["persistence"]["datastores"]["visibility"]["sql"];
        assert_eq!(store["connectAddr"], "127.77.0.1:6432", "through PgBouncer");
        assert_eq!(store["connectAttributes"]["binary_parameters"], "yes");
    }

    #[test]
    fn visibility_is_in_postgres_or_in_a_search_cluster() {
        let stack = stack("[autopilot]\nenabled = false\n[search]\nurl = \"https://search:9200/\"");
        let member = Member::parse("history-1").expect("a member");
        let config = server(&place(), &stack, member, "secret").expect("rendered");
        let store = &config["persistence"]["datastores"]["visibility"]["elasticsearch"];
        assert_eq!(store["url"], json!({ "scheme": "https", "host": "search:9200" }));
        assert_eq!(store["indices"]["visibility"], "temporal_visibility_v1");
    }

    #[test]
    fn clients_and_roles_have_separate_authorities() {
        let config = server(
            &place(),
            &stack(DEFAULT),
            Member::parse("frontend-1").expect("a member"),
            "secret",
        )
        .expect("rendered");
        let tls = &config["global"]["tls"];
        let (internode, frontend) = (&tls["internode"]["server"], &tls["frontend"]["server"]);
        assert_ne!(internode["clientCaFiles"], frontend["clientCaFiles"]);
        assert!(internode["requireClientAuth"] == true && frontend["requireClientAuth"] == true);
    }

    #[test]
    fn archives_go_to_the_run_directory_or_a_bucket() {
        let file = stack(DEFAULT);
        assert_eq!(
            archive_uri(&place(), &file, "history"),
            "file:///run/stack/archive/history"
        );
        let bucket = stack(
            "[archival]\nhistory = \"s3://archive/history\"\ns3_region = \"eu-west-1\"\ns3_endpoint = \"http://minio:9000\"\n[autopilot]\nenabled = false",
        );
        assert_eq!(archive_uri(&place(), &bucket, "history"), "s3://archive/history");
        let provider = &archival(&bucket)["history"]["provider"];
        assert_eq!(provider["s3store"]["region"], "eu-west-1");
        assert_eq!(provider["s3store"]["s3ForcePathStyle"], true);
    }

    #[test]
    fn dynamic_values_apply_everywhere_or_within_their_constraints() {
        let stack = stack(
            "[autopilot]\nenabled = false\n[dynamic_config]\n\"limit.maxIDLength\" = 255\n\"a.b\" = [{ value = 1, constraints = { namespace = \"x\" } }]",
        );
        let config = dynamic_config(&stack);
        assert_eq!(config["limit.maxIDLength"][0]["value"], 255);
        assert_eq!(config["a.b"][0]["constraints"]["namespace"], "x");
    }

    #[test]
    fn pgbouncer_accepts_more_connections_than_the_roles_open() {
        let ini = crate::database::pgbouncer_ini(&stack(DEFAULT), "/run/stack/users.txt".as_ref());
        assert!(
            ini.contains("pool_mode = transaction") && ini.contains("max_client_conn = 260"),
            "{ini}"
        );
        assert!(
            ini.contains("temporal_visibility = host=127.77.0.1 port=5432"),
            "{ini}"
        );
    }
}
