//! Sends the summary of a chain by email.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use crate::mistakes::Mistakes;

/// Timeout of one exchange with the server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why an email was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The message is invalid.
    #[error("cannot compose the email")]
    Message(#[source] lettre::error::Error),
    /// The server did not accept the message.
    #[error("email not sent")]
    Send(#[source] lettre::transport::smtp::Error),
}

/// A mail server, the sender, and the recipients.
#[derive(Debug)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// Parses the server's `url` (`smtps://USER:PASSWORD@HOST`, or `smtp://HOST?tls=required` for STARTTLS),
    /// the sender, and the recipients, which are separated by commas.
    ///
    /// # Errors
    ///
    /// All mistakes, without the password.
    pub fn try_new(url: &SecretString, from: &str, to: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut mailbox = |name: &str, text: &str| {
            let parsed: Option<Mailbox> = text.trim().parse().ok();
            if parsed.is_none() {
                mistakes.push(format!(
                    "{name}: `{}` is not an address such as `Ops <ops@example.com>`",
                    text.trim()
                ));
            }
            parsed
        };
        let from = mailbox("SMTP_FROM", from);
        let to: Vec<Option<Mailbox>> = to.split(',').map(|text| mailbox("SMTP_TO", text)).collect();
        let transport = transport(url)
            .map_err(|problem| mistakes.push(problem.to_owned()))
            .ok();
        match (from, to.into_iter().collect(), transport) {
            (Some(from), Some(to), Some(transport)) if mistakes.is_empty() => {
                Ok(Self { transport, from, to })
            }
            _ => Err(Mistakes(mistakes)),
        }
    }

    /// Sends a text. The same `id` is used for retries, so that a mail program shows a message only once if
    /// it is delivered twice.
    ///
    /// # Errors
    ///
    /// If the server does not accept the message.
    pub async fn send(&self, id: &str, subject: &str, text: String) -> Result<(), MailError> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{id}@stack-chain>")))
            .subject(subject);
        for recipient in &self.to {
            message = message.to(recipient.clone());
        }
        let message = message.body(text).map_err(MailError::Message)?;
        self.transport
            .send(message)
            .await
            .map(drop)
            .map_err(MailError::Send)
    }
}

fn transport(url: &SecretString) -> Result<AsyncSmtpTransport<Tokio1Executor>, &'static str> {
    const FORM: &str = "SMTP_URL must be smtps://[USER:PASSWORD@]HOST, smtp://[USER:PASSWORD@]HOST?tls=required, or smtp://HOST for an unencrypted server without a password";
    let text = url.expose_secret();
    // Without the parser's message, which could quote the password.
    let parsed = url::Url::parse(text).map_err(|_| FORM)?;
    let is_encrypted = match parsed.scheme() {
        "smtps" => true,
        "smtp" => parsed
            .query_pairs()
            .any(|(name, value)| name == "tls" && value == "required"),
        _ => return Err(FORM),
    };
    if !is_encrypted && parsed.password().is_some() {
        return Err(
            "SMTP_URL has a password that would be sent in clear text; use smtps://, or append ?tls=required",
        );
    }
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(text).map_err(|_| FORM)?;
    Ok(builder.timeout(Some(TIMEOUT)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_and_no_password_is_shown() {
        let error = Mail::try_new(
            &"smtp://ann:s3cret@mail.example.com".into(),
            "ops",
            "a@example.com, b",
        )
        .err();
        let error = error.expect("mistakes").to_string();
        for expected in ["SMTP_FROM: `ops`", "SMTP_TO: `b`", "clear text"] {
            assert!(error.contains(expected), "{error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
        let error = Mail::try_new(&"mail.example.com".into(), "ops@example.com", "a@example.com").err();
        assert!(
            error
                .expect("no URL")
                .to_string()
                .starts_with("SMTP_URL must be smtps:")
        );
        for url in [
            "smtps://ann:s3cret@mail.example.com",
            "smtp://ann:s3cret@mail.example.com:587?tls=required",
            "smtp://localhost:25",
        ] {
            Mail::try_new(
                &url.into(),
                "Ops <ops@example.com>",
                "a@example.com,b@example.com",
            )
            .expect("valid");
        }
    }
}
