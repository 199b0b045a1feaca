//! Selects the active policy and the shadow policy.

use capacity_engine::PolicyRef;
use capacity_engine::break_even::{BreakEven, Parameters};

use crate::defaults::{BUDGET, POLICY, SHADOW};
use crate::mistake::Mistake;
use crate::settings::{Needs, Reader};

const PARAMS: &str = "POLICY_PARAMS";
const LEDGER: &str = "LEDGER_URL";

/// Requests per hour for a sample every minute, and for evaluations.
// 60, plus the 3 that sampling leaves to evaluations.
const EVERY_MINUTE: u64 = 63;

impl Reader<'_> {
    /// Returns the active policy and the shadow policy.
    pub(crate) fn policies(&mut self, needs: Needs) -> Option<(PolicyRef, Option<PolicyRef>)> {
        let parameters = match self.found(PARAMS) {
            None => Some(Parameters::default()),
            Some(_) => self.read(PARAMS, |text| {
                Parameters::parse(text).map_err(|error| error.to_string())
            }),
        };
        // After a mistake in the parameters, the names of the policies are checked as well.
        let known = parameters.clone().unwrap_or_default();
        let named = |text: &str| {
            PolicyRef::named(&text.trim().to_ascii_lowercase(), &known)
                .ok_or_else(|| format!("use {}", PolicyRef::BUILT_IN.join(" or ")))
        };
        let acting = self.read(POLICY, named);
        let shadow = self.found(SHADOW).is_some().then(|| self.read(SHADOW, named));
        // Only now, so that mistakes in both names are reported.
        let acting = acting?;
        // A program that works without the keys makes no decisions.
        if needs.cloud_keys {
            self.need_minutes(&acting);
            if let Some(Some(shadow)) = &shadow {
                self.need_ledger_for(shadow);
            }
        }
        let uses_break_even = [Some(&acting), shadow.as_ref().and_then(Option::as_ref)]
            .into_iter()
            .flatten()
            .any(|policy| policy.name() == BreakEven::NAME);
        if uses_break_even && !self.reads_prometheus() {
            self.warn_of_budget();
        }
        if self.found(PARAMS).is_some() && !uses_break_even {
            self.warnings
                .push("POLICY_PARAMS has no effect: only break-even has parameters".to_owned());
        }
        parameters?;
        match shadow {
            None => Some((acting, None)),
            Some(shadow) => {
                let shadow = shadow?;
                if shadow == acting {
                    let origin = self.found(SHADOW).map(|found| found.origin.clone());
                    let problem = "this policy is already active: set the other one, or remove it";
                    self.mistakes.push(Mistake::of_name(SHADOW, origin, problem));
                    return None;
                }
                Some((acting, Some(shadow)))
            }
        }
    }

    /// Requires stored minutes for a policy with state, because the metrics endpoint does not have an hour of them.
    fn need_minutes(&mut self, acting: &PolicyRef) {
        if !acting.keeps_state() || self.found(LEDGER).is_some() {
            return;
        }
        if self.reads_prometheus() {
            self.warnings.push(format!(
                "POLICY={} without LEDGER_URL remembers nothing between evaluations, and plans are based on the last hour alone; set LEDGER_URL",
                acting.name()
            ));
            return;
        }
        let origin = self.found(POLICY).map(|found| found.origin.clone());
        let problem = format!(
            "{} needs every minute of the last hour; set LEDGER_URL (for example LEDGER_URL=ledger.db), or METRICS_SOURCE=prometheus with PROMETHEUS_URL",
            acting.name()
        );
        self.mistakes.push(Mistake::of_name(POLICY, origin, problem));
    }

    fn need_ledger_for(&mut self, shadow: &PolicyRef) {
        if self.found(LEDGER).is_some() {
            return;
        }
        let origin = self.found(SHADOW).map(|found| found.origin.clone());
        let problem = format!(
            "decisions of {} in shadow are recorded in the ledger; set LEDGER_URL (for example LEDGER_URL=ledger.db), or remove POLICY_SHADOW",
            shadow.name()
        );
        self.mistakes.push(Mistake::of_name(SHADOW, origin, problem));
    }

    fn warn_of_budget(&mut self) {
        let budget = self
            .found(BUDGET)
            .and_then(|found| found.text.parse::<u64>().ok());
        if let Some(budget) = budget.filter(|budget| *budget < EVERY_MINUTE) {
            self.warnings.push(format!(
                "METRICS_REQUESTS_PER_HOUR={budget} is too low for break-even, which needs a sample of every minute; set at least {EVERY_MINUTE}, or 120 for large accounts"
            ));
        }
    }
}
