//! Presets: parts of playbooks that come with the program, each a TOML text of its own.
//!
//! A playbook names them in `presets = ["saas-health-a", "early-warning"]` and what it says itself goes before them. They state the
//! programmes of five published strategies; where one leaves a threshold open, the text says that it is a default.

#[cfg(test)]
mod tests;

/// One preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name in playbooks.
    pub name: &'static str,
    /// What it is, in English.
    pub en: &'static str,
    /// What it is, in Spanish.
    pub es: &'static str,
    /// The TOML text.
    pub text: &'static str,
}

/// The presets as a playbook looks them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuiltIn;

impl crate::playbook::Presets for BuiltIn {
    fn text(&self, name: &str) -> Option<&str> {
        text(name)
    }

    fn names(&self) -> Vec<&str> {
        names().collect()
    }
}

/// All presets, in the order in which they are listed.
pub fn all() -> &'static [Preset] {
    ALL
}

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|preset| preset.name)
}

/// The text of a preset.
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|preset| preset.name == name).map(|preset| preset.text)
}

/// The text of one file of `presets/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../presets/", $name, ".toml"))
    };
}

/// The preset of one file.
macro_rules! preset {
    ($name:literal, $en:literal, $es:literal) => {
        Preset { name: $name, en: $en, es: $es, text: file!($name) }
    };
}

/// Every sequence at once.
const SEQUENCES: &str = concat!(
    file!("sequence-q1"),
    file!("sequence-q2"),
    file!("sequence-q3"),
    file!("sequence-q4"),
    file!("sequence-q4b"),
    file!("sequence-q5"),
    file!("sequence-q6"),
    file!("sequence-q7"),
    file!("sequence-q8"),
    file!("sequence-q9"),
    file!("sequence-q10"),
    file!("sequence-q11"),
    file!("sequence-q12"),
    file!("sequence-q13"),
);

const ALL: &[Preset] = &[
    preset!("saas-health-a", "Health of a SaaS customer, five components", "Salud de un cliente SaaS, cinco componentes"),
    preset!(
        "email-platform-health-b",
        "Health of a customer of an e-mail platform, a table of points",
        "Salud de un cliente de una plataforma de correo, una tabla de puntos"
    ),
    preset!("early-warning", "Five warning signals and three triggers", "Cinco señales de alerta y tres disparadores"),
    preset!("re-engagement", "When a customer should be won back", "Cuándo recuperar a un cliente"),
    preset!("problem-indicators", "Signs of trouble", "Indicadores de problemas"),
    preset!("segments", "Segments of customers", "Segmentos de clientes"),
    preset!("time-to-value", "Customers by time to value", "Clientes por tiempo hasta el valor"),
    preset!("loyalty-l1", "Loyalty tiers by tenure", "Niveles de fidelidad por antigüedad"),
    preset!("loyalty-l2", "Loyalty tiers by tenure and behaviour", "Niveles de fidelidad por antigüedad y comportamiento"),
    preset!("points-p1", "Points for activity", "Puntos por actividad"),
    preset!("points-p2", "Points for loyalty", "Puntos de fidelidad"),
    preset!("badges", "Badges", "Insignias"),
    preset!("milestones", "Milestones", "Hitos"),
    Preset { name: "sequences", en: "All sequences, Q1 to Q13", es: "Todas las secuencias, Q1 a Q13", text: SEQUENCES },
    preset!("sequence-q1", "Onboarding, days 1 to 30", "Incorporación, días 1 a 30"),
    preset!("sequence-q2", "Optimisation, days 31 to 90", "Optimización, días 31 a 90"),
    preset!("sequence-q3", "Loyalty, days 91 to 180", "Fidelización, días 91 a 180"),
    preset!("sequence-q4", "Onboarding for quick wins", "Incorporación con logros rápidos"),
    preset!("sequence-q4b", "Quick wins for time to value", "Logros rápidos de tiempo hasta el valor"),
    preset!("sequence-q5", "Re-engagement by e-mail and phone", "Reactivación por correo y teléfono"),
    preset!("sequence-q6", "Welcome series", "Serie de bienvenida"),
    preset!("sequence-q7", "Feature spotlight", "Función destacada"),
    preset!("sequence-q8", "Re-engagement of inactive customers", "Reactivación de clientes inactivos"),
    preset!("sequence-q9", "In-app messages", "Mensajes en la aplicación"),
    preset!("sequence-q10", "Course onboarding", "Incorporación al curso"),
    preset!("sequence-q11", "SaaS onboarding", "Incorporación a SaaS"),
    preset!("sequence-q12", "Platform onboarding", "Incorporación a la plataforma"),
    preset!("sequence-q13", "Expansion process", "Proceso de expansión"),
    preset!("expansion", "Upsell, cross-sell and expansion", "Upsell, cross-sell y expansión"),
    preset!("referral-f1", "Referrals with three levels", "Referidos con tres niveles"),
    preset!("referral-f2", "Referrals with a reward at once", "Referidos con recompensa inmediata"),
    preset!("referral-f3", "Referrals by product", "Referidos por producto"),
    preset!("alerts", "Alerts with hysteresis and cool-down", "Alertas con histéresis y pausa"),
    preset!("band-playbooks", "What is done for each band of health", "Qué se hace en cada banda de salud"),
    preset!("success-activities", "Regular work of a success team", "Trabajo regular de un equipo de éxito"),
    preset!("kpi-targets", "Targets of the business", "Metas del negocio"),
    preset!("capacity", "Monthly capacity of channels", "Capacidad mensual de los canales"),
    preset!("churn-causes", "Why customers leave", "Por qué se van los clientes"),
];
