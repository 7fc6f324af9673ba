//! Access keys: from where the configuration says, kept until shortly before they expire, fetched
//! again when the server calls them expired. Never shows one: not in Debug, not in an error.

use super::super::{StoreError, StoreFault};
use super::retry::{Again, Failure};
use super::transport::{Patience, Roots, Transport};
use crate::engine::config::S3Credentials;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{Region, credential_process::CredentialProcessProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError as Missing;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use rusoto_core::credential::{AwsCredentials, CredentialsError, ProvideAwsCredentials};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// Keys are renewed this long before they expire.
const AHEAD: Duration = Duration::from_secs(300);
/// How long a source may take. A program may have to ask a person's token first.
const LIMIT: Duration = Duration::from_secs(60);

/// How the place of keys that a program gives begins.
const PROGRAM: &str = "the program ";

/// The keys in use and where new ones come from.
pub struct KeyRing {
    source: SharedCredentialsProvider,
    current: Mutex<Option<Credentials>>,
    /// For messages: "the file /…", "the chain of AWS".
    place: String,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("place", &self.place).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// To be called inside the store's runtime.
    ///
    /// # Errors
    /// Where the source cannot be used, such as a file that others can read.
    pub async fn new(from: &S3Credentials, region: &str) -> Result<Self, StoreError> {
        let patience =
            Patience { connect: Duration::from_secs(5), silence: Duration::from_secs(20) };
        // The services that give keys have the system's certificates, whatever the store has.
        let connector =
            SharedHttpConnector::new(Connector(Transport::new(Roots::System, patience)?));
        let config = ProviderConfig::without_region()
            .with_region(Some(Region::new(region.to_owned())))
            .with_http_client(http_client_fn(move |_, _| connector.clone()));
        let (place, source) = match from {
            S3Credentials::Chain { profile } => {
                let mut chain = DefaultCredentialsChain::builder()
                    .configure(config)
                    .region(Region::new(region.to_owned()));
                if let Some(profile) = profile {
                    chain = chain.profile_name(profile);
                }
                let place = match profile {
                    Some(profile) => format!("the profile {profile} and what follows it"),
                    None => String::from(
                        "the environment, the default profile, web identity, ECS and EC2",
                    ),
                };
                (place, SharedCredentialsProvider::new(chain.build().await))
            }
            S3Credentials::File { path, profile } => {
                require_secret(path)?;
                let files = EnvConfigFiles::builder()
                    .with_file(EnvConfigFileKind::Credentials, path)
                    .build();
                let provider = ProfileFileCredentialsProvider::builder()
                    .configure(&config)
                    .profile_files(files)
                    .profile_name(profile.as_deref().unwrap_or("default"))
                    .build();
                (format!("the file {}", path.display()), SharedCredentialsProvider::new(provider))
            }
            S3Credentials::Process { command } => {
                let program = command.first().map_or("", String::as_str).to_owned();
                let line = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
                let provider = CredentialProcessProvider::new(line);
                (format!("{PROGRAM}{program}"), SharedCredentialsProvider::new(provider))
            }
            S3Credentials::WebIdentity { role_arn, token_file, session_name } => {
                let provider = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&config)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: token_file.clone(),
                        role_arn: role_arn.clone(),
                        session_name: session_name.clone().unwrap_or_else(|| "lifeboat".into()),
                    })
                    .build();
                let place = format!("the web identity in {}", token_file.display());
                (place, SharedCredentialsProvider::new(provider))
            }
            S3Credentials::Ecs => {
                let provider = EcsCredentialsProvider::builder().configure(&config).build();
                (String::from("the task's role"), SharedCredentialsProvider::new(provider))
            }
            S3Credentials::Ec2 => {
                let provider = ImdsCredentialsProvider::builder().configure(&config).build();
                (String::from("the instance's role"), SharedCredentialsProvider::new(provider))
            }
        };
        Ok(Self::over(source, place))
    }

    fn over(source: SharedCredentialsProvider, place: String) -> Self {
        Self { source, current: Mutex::default(), place }
    }

    /// Keys that are good now. Several that ask at the same time wait for one answer.
    ///
    /// # Errors
    /// Where there are none, with what the source said.
    pub async fn current(&self) -> Result<Keys, Failure> {
        let mut current = self.current.lock().await;
        let now = SystemTime::now();
        let left = |keys: &Credentials| {
            keys.expiry().map_or(Duration::MAX, |end| end.duration_since(now).unwrap_or_default())
        };
        if let Some(keys) = current.as_ref().filter(|keys| left(keys) > AHEAD) {
            return Ok(Keys(keys.clone()));
        }
        let asked = tokio::time::timeout(LIMIT, self.source.provide_credentials()).await;
        match asked {
            Ok(Ok(keys)) => Ok(Keys(current.insert(keys).clone())),
            // Not yet expired: better than nothing.
            _ if current.as_ref().is_some_and(|keys| !left(keys).is_zero()) => {
                current.clone().map(Keys).ok_or_else(|| self.timed_out())
            }
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// The server calls these keys expired: others must be fetched. Those that somebody else has
    /// fetched meanwhile stay.
    pub async fn forget(&self, keys: &Keys) {
        let mut current = self.current.lock().await;
        let same = |now: &Credentials| {
            now.access_key_id() == keys.0.access_key_id()
                && now.session_token() == keys.0.session_token()
        };
        if current.as_ref().is_some_and(same) {
            *current = None;
        }
    }

    fn timed_out(&self) -> Failure {
        let what = format!("no access keys came from {} within {LIMIT:?}", self.place);
        Failure::new(StoreFault::TimedOut, Again::Soon, what)
    }

    fn failure(&self, error: &Missing) -> Failure {
        let (fault, again) = match error {
            Missing::ProviderTimedOut(_) => (StoreFault::TimedOut, Again::Soon),
            Missing::CredentialsNotLoaded(_) | Missing::InvalidConfiguration(_) => {
                (StoreFault::Denied, Again::Never)
            }
            _ => (StoreFault::Denied, Again::Soon),
        };
        // The innermost cause is what somebody can act on. A source's own words may quote what it
        // read, so those of a parser are not passed on.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let words: String =
            cause.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        // What a program wrote may be a secret: how it failed is told, and not its words.
        let words = if self.place.starts_with(PROGRAM) || of_a_program(error) {
            String::from(kind_of(error))
        } else {
            words
        };
        let what = format!("there are no access keys from {}: {words}", self.place);
        Failure::new(fault, again, what)
    }
}

/// Keys for one request.
#[derive(Clone)]
pub struct Keys(Credentials);

#[async_trait::async_trait]
impl ProvideAwsCredentials for Keys {
    async fn credentials(&self) -> Result<AwsCredentials, CredentialsError> {
        let token = self.0.session_token().map(str::to_owned);
        let (id, secret) = (self.0.access_key_id(), self.0.secret_access_key());
        Ok(AwsCredentials::new(id, secret, token, None))
    }
}

fn require_secret(path: &std::path::Path) -> Result<(), StoreError> {
    let found = std::fs::metadata(path)
        .map_err(|e| StoreError::io(&format!("read the access keys in {}", path.display()), e))?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let what = format!(
            "the access keys in {0} are open to other users (mode {mode:04o}); run: chmod 600 '{0}'",
            path.display()
        );
        return Err(StoreError::new(StoreFault::Denied, what));
    }
    Ok(())
}

/// Whether a program's failure is among the causes, by the words of its provider.
fn of_a_program(error: &Missing) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        let words = one.to_string();
        if words.contains("external process") || words.contains("credential_process") {
            return true;
        }
        cause = one.source();
    }
    false
}

/// How a program failed, without its words.
fn kind_of(error: &Missing) -> &'static str {
    match error {
        Missing::CredentialsNotLoaded(_) => "the credential program gave none",
        Missing::ProviderTimedOut(_) => "the credential program took too long",
        Missing::InvalidConfiguration(_) => "the credential program is not set up as it must be",
        _ => "the credential program failed, or gave what is not keys",
    }
}

/// A word as the shell takes it for itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Our transport, for the services that give keys.
#[derive(Debug, Clone)]
struct Connector(Transport);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let response = transport
                .send(request, transport.patience.silence)
                .await
                .map_err(|t| ConnectorError::io(t.to_string().into()))?;
            let response = response.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}
