//! What the demo prints: short, aligned, coloured only on a terminal.

use std::io::Write;

use serde_json::Value;

use super::daemon::tenant_of;

/// A page that grows downwards, and what on it was not as expected.
pub struct Page {
    out: Box<dyn Write>,
    surprises: u32,
}

/// How a word is shown; `anstream` takes the colour away where it does not belong.
#[derive(Clone, Copy)]
enum Tone {
    Strong,
    Faint,
    Good,
    Bad,
    Odd,
}

fn paint(tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Strong => 1,
        Tone::Faint => 2,
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Odd => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

impl Page {
    /// A page on standard output.
    pub fn new() -> Self {
        Self { out: Box::new(anstream::stdout()), surprises: 0 }
    }

    /// How much was not as expected.
    pub fn surprises(&self) -> u32 {
        self.surprises
    }

    /// A line as it is. A reader that went away ends nothing: the exit code still answers.
    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// The title.
    pub fn title(&mut self, text: &str, aside: &str) {
        self.line(&format!("{}  {}", paint(Tone::Strong, text), paint(Tone::Faint, aside)));
    }

    /// A fact in two columns.
    pub fn fact(&mut self, name: &str, value: &str) {
        self.line(&format!("   {name:<10} {value}"));
    }

    /// The heading of a chapter.
    pub fn chapter(&mut self, number: usize, title: &str, aside: &str) {
        self.line("");
        let number = paint(Tone::Faint, &number.to_string());
        self.line(&format!("{number}  {}  {}", paint(Tone::Strong, title), paint(Tone::Faint, aside)));
    }

    /// A sentence below a chapter.
    pub fn note(&mut self, text: &str) {
        self.line(&format!("   {}", paint(Tone::Faint, text)));
    }

    /// Says whether something that was expected came true.
    pub fn expect(&mut self, holds: bool, expected: &str) {
        if holds {
            self.line(&format!("   {} {expected}", paint(Tone::Good, "✓")));
        } else {
            self.surprises += 1;
            self.line(&format!("   {} {}", paint(Tone::Bad, "✗ expected:"), expected));
        }
    }

    /// Where each tenant stands after a commit, and where it stood before.
    pub fn tenants(&mut self, before: &Value, after: &Value) {
        for row in after["tenants"].as_array().into_iter().flatten() {
            let tenant = row["tenant"].as_str().unwrap_or_default();
            let status = row["status"].as_str().unwrap_or_default();
            let was = short(&tenant_of(before, tenant)["last_applied_commit"]);
            let is = short(&row["last_applied_commit"]);
            let (tone, word, moved) = match status {
                "invalid" | "failed" | "held" | "unverified" => (Tone::Bad, status, format!("stays at {is}")),
                _ if was == is => (Tone::Faint, "unchanged", format!("at {is}")),
                _ if was.is_empty() => (Tone::Good, "applied", is),
                _ => (Tone::Good, "applied", format!("{was} → {is}")),
            };
            self.line(&format!("   {tenant:<10} {} {moved}", paint(tone, &format!("{word:<10}"))));
        }
    }

    /// One line for a run that ended.
    pub fn run(&mut self, run: &Value) {
        let text = |key: &str| run[key].as_str().unwrap_or_default();
        let outcome = text("outcome");
        let tone = match outcome {
            "success" => Tone::Good,
            "failure" | "error" | "timed_out" => Tone::Bad,
            _ => Tone::Odd,
        };
        let name = format!("{}/{}", text("tenant"), text("workflow"));
        let trigger = run["trigger"]["kind"].as_str().unwrap_or_default();
        self.line(&format!(
            "   {name:<26} {} {trigger:<9} {}",
            paint(tone, &format!("{outcome:<9}")),
            paint(Tone::Faint, &remarks(run)),
        ));
    }
}

/// The first seven digits of an id.
pub fn short(id: &Value) -> String {
    id.as_str().unwrap_or_default().chars().take(7).collect()
}

/// What is worth knowing of a run in one line: steps, retries, how it failed, secrets.
fn remarks(run: &Value) -> String {
    let steps: Vec<&Value> = run["steps"].as_array().into_iter().flatten().collect();
    let mut ids: Vec<&str> = steps.iter().filter_map(|step| step["id"].as_str()).collect();
    ids.dedup();
    let mut remarks = Vec::new();
    if ids.len() > 1 {
        remarks.push(ids.join(" "));
    }
    for step in &steps {
        if step["outcome"] == "failure" && step["exit"]["code"].is_number() {
            let attempt = step["attempt"].as_u64().unwrap_or(1);
            remarks.push(format!("attempt {attempt} exited with {}", step["exit"]["code"]));
        }
    }
    for used in run["secrets_used"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        remarks.push(format!("read {}", used.rsplit('/').next().unwrap_or(used)));
    }
    remarks.join(" · ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_is_worth_knowing() {
        let run = json!({"steps": [
            {"id": "main", "attempt": 1, "outcome": "failure", "exit": {"kind": "exited", "code": 75}},
            {"id": "main", "attempt": 2, "outcome": "success", "exit": {"kind": "exited", "code": 0}},
        ], "secrets_used": ["tenants/acme/shop_api_token@v2"]});
        assert_eq!(remarks(&run), "attempt 1 exited with 75 · read shop_api_token@v2");
        let run = json!({"steps": [{"id": "fetch"}, {"id": "load"}]});
        assert_eq!(remarks(&run), "fetch load");
        assert_eq!(remarks(&json!({})), "");
    }
}
