//! Settings that could not be read when the engine started. Deliveries that depend on them are
//! withheld until the settings are put again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::domain::deliveries::alert::Alert;
use crate::store::{Setting, UnreadableSetting};

/// The settings set aside, with the reasons.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    settings: Mutex<BTreeMap<Setting, String>>,
    /// `true` if there are rules, clients or past credentials among them. Checked for every
    /// attempt.
    withholds: AtomicBool,
}

impl SetAside {
    pub(crate) fn new(settings: Vec<UnreadableSetting>) -> Self {
        let settings = settings.into_iter().map(|one| (one.setting, one.reason));
        let set_aside = Self {
            settings: Mutex::new(settings.collect()),
            withholds: AtomicBool::default(),
        };
        set_aside.note(&set_aside.settings());
        set_aside
    }

    /// Notes that a setting was put again or removed.
    pub(crate) fn forget(&self, setting: &Setting) {
        let mut settings = self.settings();
        settings.remove(setting);
        self.note(&settings);
    }

    pub(crate) fn contains(&self, setting: &Setting) -> bool {
        self.settings().contains_key(setting)
    }

    /// Returns all settings that are set aside, in order.
    pub(crate) fn list(&self) -> Vec<UnreadableSetting> {
        let settings = self.settings();
        let all = settings.iter();
        all.map(|(setting, reason)| UnreadableSetting::new(setting.clone(), reason.clone()))
            .collect()
    }

    /// Returns `true` if the authorisation of a call with an alert is unknown.
    ///
    /// That is the case if the alert's rule or client cannot be read. It is also the case if its
    /// rule no longer names the URL (`is_past`) and some past credential cannot be read.
    pub(crate) fn withholds(&self, alert: &Alert, is_past: impl FnOnce() -> bool) -> bool {
        if !self.withholds.load(Ordering::Relaxed) {
            return false;
        }
        let rule = Setting::Rule {
            id: alert.rule_id.clone(),
        };
        let client = Setting::Client {
            id: alert.client_id.clone(),
        };
        let settings = self.settings();
        settings.contains_key(&rule)
            || settings.contains_key(&client)
            || (settings.contains_key(&Setting::PastCredential) && is_past())
    }

    fn note(&self, settings: &BTreeMap<Setting, String>) {
        let withholds = |setting: &Setting| {
            matches!(
                setting,
                Setting::Rule { .. } | Setting::Client { .. } | Setting::PastCredential
            )
        };
        let any = settings.keys().any(withholds);
        self.withholds.store(any, Ordering::Relaxed);
    }

    fn settings(&self) -> MutexGuard<'_, BTreeMap<Setting, String>> {
        self.settings.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_setting_is_withheld_until_it_is_put_again() {
        let (rule, client) = (
            Setting::Rule { id: "r".into() },
            Setting::Client { id: "c".into() },
        );
        let unreadable = [&rule, &client].map(|one| UnreadableSetting::new(one.clone(), "why"));
        let set_aside = SetAside::new(unreadable.to_vec());
        let alert = Alert::example(None);
        assert_eq!(set_aside.list().len(), 2);
        assert!(set_aside.withholds(&alert, || false));
        set_aside.forget(&rule);
        assert!(
            set_aside.withholds(&alert, || false),
            "its client is not known yet"
        );
        set_aside.forget(&client);
        assert!(!set_aside.withholds(&alert, || false) && set_aside.list().is_empty());
        let other = Setting::Rule { id: "other".into() };
        let set_aside = SetAside::new(vec![UnreadableSetting::new(other, "why")]);
        assert!(!set_aside.withholds(&alert, || true));
        let past = UnreadableSetting::new(Setting::PastCredential, "why");
        let set_aside = SetAside::new(vec![past]);
        assert!(set_aside.withholds(&alert, || true) && !set_aside.withholds(&alert, || false));
    }
}
