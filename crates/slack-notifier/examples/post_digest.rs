//! Posts a small digest to the webhook in `SLACK_WEBHOOK_URL`, or prints the payload if it is not set.
#![expect(clippy::print_stdout, reason = "an example prints")]

use slack_notifier::{Config, Message, Section, Severity, Webhook};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let message = Message {
        severity: Severity::Info,
        title: "Capacity of account a1b2c".to_owned(),
        sections: vec![Section {
            heading: Some("Changed".to_owned()),
            lines: vec!["[orders.a1b2c] 4 TRUs -> on-demand".to_owned()],
        }],
        context: vec!["an example".to_owned()],
    };
    match std::env::var("SLACK_WEBHOOK_URL") {
        Ok(url) => Webhook::new(Config::try_new(url.into())?).post(&message).await?,
        Err(_) => println!("{:#}", message.payload()),
    }
    Ok(())
}
