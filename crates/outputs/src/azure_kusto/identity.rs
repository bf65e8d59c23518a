//! Who the output is for the cluster: one token for all lanes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_core::http::Url;
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use http::{Request, StatusCode};
use net::client::{Body, Client, chain};
use options::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fault::{Fault, Step};
use super::options::{AuthType, KustoOptions};
use super::transport;

/// Where one logs in to the public cloud.
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// Where Kubernetes puts the token of a workload identity.
const FEDERATED_TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";

/// What a cluster is called that does not say so itself.
const PUBLIC_RESOURCE: &str = "https://kusto.kusto.windows.net";

/// A token is renewed so long before it ends.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// After a renewal that failed, the token that still holds is used so long before the next attempt.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// How long a token is used whose end is past.
const CLOCK_IS_WRONG: Duration = Duration::from_secs(60);

/// An option that no identity can be made of.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) option: &'static str,
    pub(super) what: String,
}

/// A token and its number, by which it is dropped.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: Secret,
    number: u64,
    renew_at: Instant,
    ends_at: Instant,
}

/// Gets tokens and keeps the last one.
pub(super) struct Identity {
    /// The instance, for log lines.
    name: String,
    kind: Kind,
    authority: String,
    /// The time that a token may take, whatever the Azure crates do in it.
    patience: Duration,
    /// Whose metadata says what the token is for.
    endpoint: String,
    client: Client,
    /// Held while a token is got, so that all who need one wait for the same.
    state: Mutex<State>,
}

/// How one proves who one is.
enum Kind {
    Secret {
        tenant: String,
        client_id: String,
        secret: Secret,
    },
    /// Without an id the machine's own.
    Managed {
        client_id: Option<String>,
    },
    /// What is missing the environment says.
    Workload {
        tenant: Option<String>,
        client_id: Option<String>,
        file: PathBuf,
    },
}

impl Kind {
    fn new(options: &KustoOptions) -> Kind {
        let text = |option: &Option<String>| option.clone().filter(|text| !text.is_empty());
        match options.auth_type {
            AuthType::ServicePrincipal => Kind::Secret {
                tenant: options.tenant_id.clone().unwrap_or_default(),
                client_id: options.client_id.clone().unwrap_or_default(),
                secret: options.client_secret.clone().unwrap_or_default(),
            },
            AuthType::ManagedIdentity => Kind::Managed {
                client_id: text(&options.client_id).filter(|id| !id.eq_ignore_ascii_case("system")),
            },
            AuthType::WorkloadIdentity => {
                let from_environment = || std::env::var("AZURE_FEDERATED_TOKEN_FILE").ok();
                let file = text(&options.workload_identity_token_file).or_else(from_environment);
                Kind::Workload {
                    tenant: text(&options.tenant_id),
                    client_id: text(&options.client_id),
                    file: file.unwrap_or_else(|| FEDERATED_TOKEN_FILE.to_owned()).into(),
                }
            }
        }
    }

    /// The option to look at when there is no such identity.
    fn option(&self) -> &'static str {
        match self {
            Kind::Secret { .. } => "tenant_id",
            Kind::Managed { .. } => "auth_type",
            Kind::Workload { .. } => "workload_identity_token_file",
        }
    }
}

#[derive(Default)]
struct State {
    scope: Option<String>,
    token: Option<Token>,
    number: u64,
}

impl Identity {
    pub(super) fn new(
        name: &str,
        options: &KustoOptions,
        endpoint: &str,
        client: Client,
    ) -> Result<Identity, Refused> {
        let from_environment = || std::env::var("AZURE_AUTHORITY_HOST").ok();
        let authority = options.authority_host.clone().or_else(from_environment);
        let identity = Identity {
            name: name.to_owned(),
            kind: Kind::new(options),
            patience: options.io_timeout.0,
            authority: authority.unwrap_or_else(|| PUBLIC_AUTHORITY.to_owned()),
            endpoint: endpoint.to_owned(),
            client,
            state: Mutex::default(),
        };
        let https =
            Url::parse(&identity.authority).is_ok_and(|url| url.scheme() == "https" && url.has_host());
        if !https {
            let what = format!("\"{}\" is no https URL to log in at", identity.authority);
            return Err(Refused { option: "authority_host", what });
        }
        // Made to be thrown away: it says now what it would say at the first flush.
        match identity.credential() {
            Ok(_) => Ok(identity),
            Err(error) => Err(Refused { option: identity.kind.option(), what: chain(&error) }),
        }
    }

    /// A credential without a token.
    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host.clone_from(&self.authority);
        let mut client_options = transport::options(self.client.clone());
        client_options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
        Ok(match &self.kind {
            Kind::Secret { tenant, client_id, secret } => ClientSecretCredential::new(
                tenant,
                client_id.clone(),
                secret.expose().to_owned().into(),
                Some(ClientSecretCredentialOptions { client_options }),
            )?,
            Kind::Managed { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options))?
            }
            Kind::Workload { tenant, client_id, file } => {
                // The file is read here.
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: client_id.clone(),
                    tenant_id: tenant.clone(),
                    token_file_path: Some(file.clone()),
                };
                WorkloadIdentityCredential::new(Some(options))?
            }
        })
    }

    /// The token: the one that is there, or a new one when that one ends soon.
    pub(super) async fn token(&self) -> Result<Token, Fault> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        match self.renew(&mut state).await {
            Ok(token) => Ok(token),
            Err(fault) => match &mut state.token {
                Some(token) if now < token.ends_at => {
                    let (name, why) = (&self.name, &fault.text);
                    tracing::warn!(
                        "[output:{name}] the token cannot be renewed and is used on for now: {why}"
                    );
                    token.renew_at = now + RENEW_AGAIN;
                    Ok(token.clone())
                }
                _ => Err(fault),
            },
        }
    }

    async fn renew(&self, state: &mut State) -> Result<Token, Fault> {
        let scope = match &state.scope {
            Some(scope) => scope.clone(),
            None => state.scope.insert(self.scope().await?).clone(),
        };
        let fault = |error: azure_core::Error| Fault::azure(Step::Login, &error);
        // The credential caches a token and cannot be told to forget it, so each token has its own.
        let credential = self.credential().map_err(fault)?;
        let scopes = [scope.as_str()];
        let asked = tokio::time::timeout(self.patience, credential.get_token(&scopes, None)).await;
        let late =
            |_| Fault::local(Step::Login, "no token within the time that a request may take (io_timeout)");
        let access = asked.map_err(late)?.map_err(fault)?;
        let life = life(access.expires_on.into(), SystemTime::now());
        let now = Instant::now();
        state.number += 1;
        let token = Token {
            text: Secret::new(access.token.secret()),
            number: state.number,
            // Half of a short life, so that a token is used more than once.
            renew_at: now + life.saturating_sub(RENEW_BEFORE).max(life / 2),
            ends_at: now + life,
        };
        state.token = Some(token.clone());
        Ok(token)
    }

    /// Forgets a token that the cluster has refused, and what it was for. A newer one stays.
    pub(super) async fn drop_token(&self, refused: &Token) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.number == refused.number) {
            state.token = None;
            state.scope = None;
        }
    }

    /// What a token is asked for: the cluster's own name for itself.
    async fn scope(&self) -> Result<String, Fault> {
        let request = Request::get(format!("{}/v1/rest/auth/metadata", self.endpoint))
            .header("accept", "application/json")
            .body(Body::empty())
            .map_err(|error| Fault::local(Step::Cluster, &error.to_string()))?;
        let sent = self.client.send(request).await;
        let response = sent.map_err(|error| Fault::unanswered(Step::Cluster, &error))?;
        match response.status() {
            StatusCode::OK => scope_of(response.body())
                .ok_or_else(|| Fault::local(Step::Cluster, "the cluster's auth metadata is not understood")),
            StatusCode::NOT_FOUND => Ok(format!("{PUBLIC_RESOURCE}/.default")),
            _ => Err(Fault::answer(Step::Cluster, &response)),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "AzureAD")]
    azure_ad: Option<AzureAd>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AzureAd {
    #[serde(default)]
    login_mfa_required: bool,
    kusto_service_resource_id: Option<String>,
}

/// How long a token is going to hold. One that seems to be over when it comes is used for a while all the same: then the
/// machine's clock is wrong, and the cluster says when it does not take the token.
fn life(ends: SystemTime, now: SystemTime) -> Duration {
    ends.duration_since(now).ok().filter(|life| !life.is_zero()).unwrap_or(CLOCK_IS_WRONG)
}

/// The scope that auth metadata name; those that name none mean the public cloud's. `None` when they are not
/// understood.
fn scope_of(metadata: &[u8]) -> Option<String> {
    let metadata: Metadata = serde_json::from_slice(metadata).ok()?;
    let Some(azure_ad) = metadata.azure_ad else { return Some(format!("{PUBLIC_RESOURCE}/.default")) };
    let mut resource = azure_ad.kusto_service_resource_id.unwrap_or_else(|| PUBLIC_RESOURCE.to_owned());
    if azure_ad.login_mfa_required {
        resource = resource.replace(".kusto.", ".kustomfa.");
    }
    Some(format!("{}/.default", resource.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_does_not_make_each_request_ask_for_a_token() {
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert_eq!(life(now + hour, now), hour);
        for ends in [now, now - hour] {
            assert_eq!(life(ends, now), CLOCK_IS_WRONG);
        }
    }

    #[test]
    fn the_scope_is_what_the_cluster_says_or_else_the_public_cloud() {
        let public = Some("https://kusto.kusto.windows.net/.default");
        for (metadata, expected) in [
            (r#"{"AzureAD":null}"#, public),
            ("{}", public),
            (r#"{"AzureAD":{"LoginEndpoint":"https://l"}}"#, public),
            (
                r#"{"AzureAD":{"LoginMfaRequired":false,"KustoServiceResourceId":"https://kusto.kusto.usgovcloudapi.net"}}"#,
                Some("https://kusto.kusto.usgovcloudapi.net/.default"),
            ),
            (
                r#"{"AzureAD":{"LoginMfaRequired":true,"KustoServiceResourceId":"https://kusto.kusto.windows.net/"}}"#,
                Some("https://kusto.kustomfa.windows.net/.default"),
            ),
            ("<html>", None),
        ] {
            assert_eq!(scope_of(metadata.as_bytes()).as_deref(), expected, "{metadata}");
        }
    }
}
