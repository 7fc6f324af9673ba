//! Mail by SMTP: one plain text a message, with an id that stays the same for each try. Sends
//! nothing in the clear where the configuration asks for encryption.

use super::{DeliveryError, LIMIT};
use crate::engine::config::channels::{ChannelTarget, MailTls};
use crate::engine::notify::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::SmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message as Mail, Transport};
use zeroize::Zeroizing;

pub(super) fn send(
    target: &ChannelTarget,
    message: &Message,
    password: Option<Zeroizing<String>>,
) -> Result<(), DeliveryError> {
    let ChannelTarget::Email { host, port, tls, from, to, user, .. } = target else {
        return Err(DeliveryError::Never(String::from("the channel is no mail")));
    };
    let mail = mail(message, from, to)?;
    let encrypted = || {
        TlsParameters::new(host.clone())
            .map_err(|_| DeliveryError::later("the mail server's name cannot be used with TLS"))
    };
    let (mode, usual) = match tls {
        MailTls::Starttls => (Tls::Required(encrypted()?), 587),
        MailTls::Tls => (Tls::Wrapper(encrypted()?), 465),
        MailTls::None => (Tls::None, 25),
    };
    let mut transport = SmtpTransport::builder_dangerous(host)
        .port(port.unwrap_or(usual))
        .tls(mode)
        .timeout(Some(LIMIT))
        .hello_name(hello());
    if let (Some(user), Some(password)) = (user, password) {
        transport =
            transport.credentials(Credentials::new(user.clone(), password.as_str().to_owned()));
    }
    match transport.build().send(&mail) {
        Ok(_) => Ok(()),
        // What a server says about a mail can repeat what it was told; its code is enough.
        Err(error) if error.is_permanent() => {
            let code = error.status().map(|code| format!(" ({code})")).unwrap_or_default();
            Err(DeliveryError::Never(format!("the mail server refused the mail{code}")))
        }
        Err(error) => {
            let what = if error.is_timeout() {
                format!("the mail server did not answer in {} s", LIMIT.as_secs())
            } else if error.is_tls() {
                String::from("the encrypted connection to the mail server failed")
            } else if let Some(code) = error.status() {
                format!("the mail server put it off ({code})")
            } else {
                String::from("the mail server could not be reached")
            };
            Err(DeliveryError::later(what))
        }
    }
}

fn mail(message: &Message, from: &str, to: &[String]) -> Result<Mail, DeliveryError> {
    let address = |text: &str| {
        text.parse::<Mailbox>()
            .map_err(|_| DeliveryError::Never(format!("\"{text}\" is no address")))
    };
    let mut mail = Mail::builder()
        .from(address(from)?)
        .message_id(Some(format!("<{}@lifeboat>", message.id.replace('/', "."))))
        .subject(format!("[{}] {}", message.incident, message.headline))
        .date(std::time::SystemTime::from(message.at))
        .header(ContentType::TEXT_PLAIN);
    for one in to {
        mail = mail.to(address(one)?);
    }
    let text = format!(
        "{}\n\n{}\n\nIncident {}, cluster {} ({}), {:.0}\n",
        message.headline,
        message.text,
        message.incident,
        message.cluster,
        message.environment,
        message.at
    );
    mail.body(text).map_err(|error| DeliveryError::Never(error.to_string()))
}

/// The name of this machine, as far as it is one that a mail server takes.
fn hello() -> ClientId {
    let name = crate::engine::postgres::discovery::host_name();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    ClientId::Domain(if plain && !name.is_empty() { name } else { String::from("localhost") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::notify::message::{fixture, messages};

    #[test]
    fn a_mail_keeps_its_id_and_cannot_be_given_headers() {
        let mut message = messages(&fixture::journal(), &fixture::runbook()).remove(0);
        message.headline = String::from("gone\r\nBcc: everybody@example.org");
        let to = [String::from("Database team <dba@example.org>")];
        let told = |m: &Message| {
            let mail = mail(m, "lifeboat@example.org", &to).unwrap();
            String::from_utf8(mail.formatted()).unwrap()
        };
        let sent = told(&message);
        assert!(sent.contains("<INC-20260113-001.1@lifeboat>"), "{sent}");
        let head = sent.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{sent}");
        assert_eq!(sent, told(&message), "each try is the same mail");
        let wrong = mail(&message, "nobody", &to).unwrap_err();
        assert!(matches!(wrong, DeliveryError::Never(_)));
    }
}
