//! What `ptxas -v` prints, and the gates on it. `tests/kernel_static.rs` includes this file too and tests the parser.

/// What one kernel, or one function that is called and not inlined, takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub file: String,
    pub kernel: String,
    pub arch: String,
    /// 0 for a function that is no entry.
    pub registers: u32,
    pub smem_bytes: u32,
    pub spill_store_bytes: u32,
    pub spill_load_bytes: u32,
    pub stack_bytes: u32,
}

/// A line of `kernels/spills.txt`: a kernel may use so much local memory on this architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Allowed {
    pub line: usize,
    pub kernel: String,
    pub arch: String,
    pub bytes: u32,
}

impl Usage {
    /// The largest of the local-memory figures; 0 for a kernel that keeps everything in registers.
    pub fn local_bytes(&self) -> u32 {
        self.spill_store_bytes.max(self.spill_load_bytes).max(self.stack_bytes)
    }

    /// The row as a Rust expression.
    pub fn row(&self, allowed_local_bytes: u32) -> String {
        let Self { file, kernel, arch, registers, smem_bytes, spill_store_bytes, spill_load_bytes, stack_bytes } = self;
        format!(
            "PtxasRow {{ file: {file:?}, kernel: {kernel:?}, arch: {arch:?}, registers: {registers}, \
             smem_bytes: {smem_bytes}, spill_store_bytes: {spill_store_bytes}, spill_load_bytes: {spill_load_bytes}, \
             stack_bytes: {stack_bytes}, allowed_local_bytes: {allowed_local_bytes} }}"
        )
    }
}

impl Allowed {
    pub fn covers(&self, usage: &Usage) -> bool {
        self.kernel == usage.kernel && self.arch == usage.arch
    }
}

/// The functions in what ptxas printed for `file` and `arch` (`sm_80`).
///
/// # Errors
/// A C75xx note: ptxas has serialised wgmma or put waits of its own between them, which costs most of the speed.
pub fn parse(file: &str, arch: &str, log: &str) -> Result<Vec<Usage>, String> {
    let notes: Vec<&str> = log.lines().filter(|line| line.contains("(C75")).collect();
    if !notes.is_empty() {
        return Err(format!("ptxas rewrote the wgmma pipeline:\n{}", notes.join("\n")));
    }
    let mut usages: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some(name) = line.split_once("Function properties for ").map(|(_, name)| name.trim()) {
            let usage = Usage { file: file.into(), kernel: name.into(), arch: arch.into(), ..Usage::default() };
            usages.push(usage);
            continue;
        }
        let Some(usage) = usages.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            usage.stack_bytes = before(line, "bytes stack frame")?;
            usage.spill_store_bytes = before(line, "bytes spill stores")?;
            usage.spill_load_bytes = before(line, "bytes spill loads")?;
        } else if line.contains(": Used ") {
            usage.registers = before(line, "registers")?;
            usage.smem_bytes = if line.contains("bytes smem") { before(line, "bytes smem")? } else { 0 };
        }
    }
    Ok(usages)
}

/// The number before a phrase: 16 in `Used 16 registers` before `registers`.
fn before(line: &str, phrase: &str) -> Result<u32, String> {
    let number = line.split_once(phrase).and_then(|(head, _)| head.split_whitespace().next_back());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("ptxas printed no number before `{phrase}`: {line}"))
}

/// Reads `kernels/spills.txt`: `kernel arch bytes  # reason` a line; empty lines and comments are skipped.
pub fn parse_allowed(text: &str) -> Result<Vec<Allowed>, String> {
    let mut all = Vec::new();
    for (line, content) in text.lines().enumerate().map(|(idx, content)| (idx + 1, content.trim())) {
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let wrong = || format!("kernels/spills.txt:{line}: `{content}`, expected `kernel arch bytes  # reason`");
        let (fields, reason) = content.split_once('#').ok_or_else(wrong)?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [kernel, arch, bytes] = fields[..] else { return Err(wrong()) };
        if !arch.starts_with("sm_") || reason.trim().is_empty() {
            return Err(wrong());
        }
        let bytes = bytes.parse().map_err(|_| wrong())?;
        all.push(Allowed { line, kernel: kernel.into(), arch: arch.into(), bytes });
    }
    Ok(all)
}

/// Refuses local memory that is not allowed, and lines that allow what no kernel takes.
pub fn check_allowed(usages: &[&Usage], allowed: &[Allowed]) -> Result<(), String> {
    let mut faults = Vec::new();
    for usage in usages.iter().filter(|usage| usage.local_bytes() > 0) {
        let limit = allowed.iter().find(|allowed| allowed.covers(usage)).map_or(0, |allowed| allowed.bytes);
        if usage.local_bytes() > limit {
            let Usage { kernel, arch, registers, spill_store_bytes, spill_load_bytes, stack_bytes, .. } = usage;
            faults.push(format!(
                "{kernel} for {arch} ({registers} registers): {stack_bytes} bytes of stack, {spill_store_bytes} bytes \
                 of spill stores, {spill_load_bytes} bytes of spill loads; kernels/spills.txt allows {limit}"
            ));
        }
    }
    let built = |allowed: &Allowed| usages.iter().any(|usage| usage.arch == allowed.arch);
    let used = |allowed: &Allowed| usages.iter().any(|usage| allowed.covers(usage) && usage.local_bytes() > 0);
    for Allowed { line, kernel, arch, .. } in allowed.iter().filter(|allowed| built(allowed) && !used(allowed)) {
        faults.push(format!("kernels/spills.txt:{line}: {kernel} for {arch} uses no local memory: remove the line"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
