//! What can be said of the compiled kernels without a GPU: registers, spills, and the instructions they are made of.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use pid_engine::kernels::Entry;
use pid_engine::kernels::cubins::{self, CUBINS, Cubin, PTXAS, TEST_CUBINS};
use pid_engine::weights::order::RowOrder;
use rayon::prelude::*;

// The build script's parser, which no other target compiles.
#[allow(dead_code)]
#[path = "../build/nvcc/ptxas.rs"]
mod ptxas;

const ALL_ARCHS: &[&str] = &["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120"];

/// Of every kernel on the tensor cores: LDSM is ldmatrix, LDGSTS cp.async, HMMA mma.sync.
const PRODUCT: &[&str] = &["LDSM", "LDGSTS", "HMMA"];

/// Of every kernel that specialises its warps on sm_90a: UTMALDG and UTMASTG are bulk copies, HGMMA wgmma, SYNCS mbarriers.
const SPECIALISED: &[&str] = &["UTMALDG.3D", "UTMASTG.3D", "HGMMA", "SYNCS", "USETMAXREG", "MUFU.EX2"];

/// Kernel file, architectures, and the instructions that each kernel in it must have: those that a rewrite or another
/// compiler could lose without a wrong result. MUFU.EX2 is ex2.approx.
const REQUIRED: &[(&str, &[&str], &[&str])] = &[
    ("linear", ALL_ARCHS, PRODUCT),
    ("embed", ALL_ARCHS, PRODUCT),
    ("qkv", ALL_ARCHS, PRODUCT),
    ("swiglu", ALL_ARCHS, PRODUCT),
    ("residual", ALL_ARCHS, PRODUCT),
    ("latent_gate", ALL_ARCHS, PRODUCT),
    ("modulate", ALL_ARCHS, PRODUCT),
    ("update", ALL_ARCHS, PRODUCT),
    ("conv3x3", ALL_ARCHS, PRODUCT),
    ("attention", ALL_ARCHS, &["LDSM", "LDGSTS", "HMMA", "MUFU.EX2"]),
    ("attention_d64_sm90", &["sm_90a"], SPECIALISED),
    ("attention_d72_sm90", &["sm_90a"], SPECIALISED),
];

/// The same of the micro-tests' kernels on sm_90a: what each intrinsic becomes. UTMALDG, UTMASTG and UBLKCP are bulk
/// copies, HGMMA wgmma, SYNCS mbarriers (.RED in another CTA), UCGABAR the cluster's barrier, STSM stmatrix.
const REQUIRED_SM_90A: &[(&str, &[&str])] = &[
    ("micro_tma", &["UTMALDG.2D", "UTMALDG.3D", "UTMALDG.4D", "UTMASTG.2D", "UTMASTG.3D", "UBLKCP"]),
    ("micro_wgmma", &["HGMMA", "USETMAXREG"]),
    ("micro_pipeline", &["UTMALDG.2D", "UTMASTG.2D", "HGMMA", "SYNCS", "USETMAXREG"]),
    (
        "micro_cluster",
        &["UTMALDG.2D.MULTICAST", "UTMALDG.3D.MULTICAST", "UCGABAR_ARV", "UCGABAR_WAIT", "SYNCS.ARRIVE.TRANS64.RED"],
    ),
    ("micro_fragments", &["LDSM", "STSM", "LDGSTS", "HMMA"]),
];

/// Of every kernel in a file for sm_90a alone (`kernels/sm90`), and of those whose blocks work in pairs.
const REQUIRED_SM_90: &[&str] = &["HGMMA", "UTMALDG", "SYNCS", "USETMAXREG"];
const REQUIRED_OF_PAIRS: &[&str] = &["UTMALDG.2D.MULTICAST", "UCGABAR_ARV", "UCGABAR_WAIT", "SYNCS.ARRIVE.TRANS64.RED"];
/// Of those whose results leave by bulk stores, and what they must not have.
const REQUIRED_OF_BULK: &[&str] = &["UTMASTG.3D", "UTMACMDFLUSH", "FENCE.VIEW.ASYNC", "STS.128"];
const FORBIDDEN_OF_BULK: &str = "STG";
/// Kernel files whose every kernel is for sm_90 or sm_90a, and those kernels in them that are not.
const TRAPS_BELOW: &[(&str, &[&str])] = &[
    ("micro_tma", &[]),
    ("micro_cluster", &[]),
    ("micro_pipeline", &[]),
    ("micro_mbarrier", &[]),
    ("micro_wgmma", &["micro_wgmma_descriptor"]),
];

/// One function of a disassembled cubin.
struct Function {
    name: String,
    /// Opcodes with their suffixes, in the order of the code: `LDSM.16.M88.4`.
    opcodes: Vec<String>,
}

impl Function {
    /// Whether an instruction is there, whatever the suffixes after it.
    fn has(&self, opcode: &str) -> bool {
        let is = |own: &String| own.strip_prefix(opcode).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.opcodes.iter().any(is)
    }

    /// How many wgmma stand between each wgmma.fence (WARPGROUP.ARRIVE) and what comes next of the warpgroup's
    /// instructions, a wait (WARPGROUP.DEPBAR).
    ///
    /// # Errors
    /// When a wgmma stands elsewhere: the compiler waits in the midst of a slice.
    fn slices(&self) -> Result<Vec<usize>, String> {
        let (mut slices, mut is_open) = (Vec::new(), false);
        for opcode in &self.opcodes {
            match (opcode.split('.').next(), slices.last_mut()) {
                (Some("HGMMA"), Some(count)) if is_open => *count += 1,
                (Some("HGMMA"), _) => return Err(format!("{}: a wgmma after a wait, without a fence", self.name)),
                (Some("WARPGROUP"), _) => {
                    is_open = opcode.starts_with("WARPGROUP.ARRIVE");
                    if is_open {
                        slices.push(0);
                    }
                }
                _ => {}
            }
        }
        Ok(slices)
    }
}

#[test]
fn kernels_keep_to_registers() {
    if !cubins::BUILT {
        println!("skipped: no nvcc");
        return;
    }
    println!(
        "{:48} {:8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "kernel", "arch", "registers", "smem", "stack", "stores", "loads"
    );
    for row in PTXAS {
        let (stores, loads) = (row.spill_store_bytes, row.spill_load_bytes);
        let numbers = format!("{:9} {:9} {:9} {stores:9} {loads:9}", row.registers, row.smem_bytes, row.stack_bytes);
        if CUBINS.iter().any(|cubin| cubin.file == row.file) {
            println!("{:48} {:8} {numbers}", row.kernel, row.arch);
        }
        assert!(stores.max(loads).max(row.stack_bytes) <= row.allowed_local_bytes, "{row:?}");
        if let Some(entry) = Entry::find(row.kernel) {
            let most = entry.launch_registers();
            assert!(row.registers <= most, "{row:?}: {most} leave {} blocks of {}", entry.min_blocks, entry.threads);
        }
    }
    for Cubin { file, arch, .. } in CUBINS.iter().filter(|cubin| !cubin.is_ptx()) {
        let has_rows = PTXAS.iter().any(|row| row.file == *file && row.arch == *arch && row.registers > 0);
        assert!(has_rows, "{file} for {arch}: no kernel in it (are the entry points `extern \"C\" __global__`?)");
    }
}

#[test]
fn cubins_hold_the_instructions_meant() {
    if !cubins::BUILT {
        println!("skipped: no nvcc");
        return;
    }
    for (file, ..) in REQUIRED {
        assert!(CUBINS.iter().any(|cubin| cubin.file == *file), "kernels/ has no {file}.cu");
    }
    let Some(cuobjdump) = find("cuobjdump") else {
        println!("skipped: no cuobjdump");
        return;
    };
    let compiled: Vec<&Cubin> = CUBINS.iter().filter(|cubin| !cubin.is_ptx()).collect();
    let faults: Vec<String> = compiled.par_iter().flat_map_iter(|cubin| faults(&cuobjdump, cubin)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    println!("{} cubins disassembled", compiled.len());
}

#[test]
fn sm_90_instructions_are_there_or_trap() {
    let Some(cuobjdump) = find("cuobjdump").filter(|_| cubins::BUILT) else {
        println!("skipped: no nvcc or no cuobjdump");
        return;
    };
    let of = |file: &str, arch: &str| TEST_CUBINS.iter().find(|cubin| cubin.file == file && cubin.arch == arch);
    for (file, opcodes) in REQUIRED_SM_90A {
        let Some(cubin) = of(file, "sm_90a") else {
            println!("skipped: {file} is not built for sm_90a");
            continue;
        };
        let functions = disassemble(&cuobjdump, cubin);
        for opcode in *opcodes {
            assert!(functions.iter().any(|function| function.has(opcode)), "{file} for sm_90a: no {opcode} in it");
        }
    }
    for (file, others) in TRAPS_BELOW {
        if let Some(cubin) = of(file, "sm_80") {
            for function in disassemble(&cuobjdump, cubin).iter().filter(|f| !others.contains(&&*f.name)) {
                assert!(function.has("BPT.TRAP"), "{} for {} does not trap", function.name, cubin.arch);
            }
        }
    }
}

/// What the kernel called `name` declares of itself.
fn entry(name: &str) -> &'static Entry {
    Entry::find(name).unwrap_or_else(|| panic!("{name} is not in the table of kernels"))
}

/// wgmmas of a slice: one for every 16 inner columns of each row tile of 64 that a consumer has.
fn wgmmas_of_a_slice(entry: &Entry) -> usize {
    let row_tiles = if entry.ping_pong { 2 } else { 1 };
    entry.tile[2] as usize / 16 * row_tiles
}

#[test]
fn kernels_for_sm_90_alone_are_as_meant() {
    let Some(cuobjdump) = find("cuobjdump").filter(|_| cubins::BUILT) else {
        println!("skipped: no nvcc or no cuobjdump");
        return;
    };
    let cubins: Vec<&Cubin> = CUBINS.iter().filter(|cubin| cubin.arch == "sm_90a").collect();
    if cubins.is_empty() {
        println!("skipped: nothing is built for sm_90a");
    }
    for row in PTXAS.iter().filter(|row| cubins.iter().any(|cubin| cubin.file == row.file)) {
        assert_eq!(row.arch, "sm_90a", "{row:?}");
        let most = entry(row.kernel).launch_registers();
        assert!(row.registers <= most, "{row:?}: at most {most}");
        assert_eq!(row.spill_store_bytes.max(row.spill_load_bytes).max(row.stack_bytes), 0, "{row:?}");
    }
    let functions: Vec<Function> = cubins.par_iter().flat_map_iter(|cubin| disassemble(&cuobjdump, cubin)).collect();
    for function in &functions {
        let entry = entry(&function.name);
        let is_product = entry.order != RowOrder::Plain;
        let of_pairs = if entry.cluster > 1 { REQUIRED_OF_PAIRS } else { &[] };
        let is_bulk = is_product && entry.has_bulk_stores();
        let of_bulk = if is_bulk { REQUIRED_OF_BULK } else { &[] };
        for opcode in REQUIRED_SM_90.iter().chain(of_pairs).chain(of_bulk) {
            assert!(function.has(opcode), "{} has no {opcode}", function.name);
        }
        assert!(!is_bulk || !function.has(FORBIDDEN_OF_BULK), "{} stores by threads, too", function.name);
        assert!(!function.has("LDL") && !function.has("STL"), "{} uses local memory", function.name);
        // Attention has other main loops.
        if is_product {
            let slices = function.slices().unwrap_or_else(|e| panic!("{e}"));
            // The two of an update are one loop each.
            let loops = if entry.op.starts_with("gemm_pixel_update") { 2 } else { 1 };
            assert_eq!(slices, vec![wgmmas_of_a_slice(entry); loops], "{}", function.name);
        }
    }
    println!("{} kernels for sm_90a alone", functions.len());
}

/// What is wrong with a cubin's instructions.
fn faults(cuobjdump: &Path, cubin: &Cubin) -> Vec<String> {
    let Cubin { file, arch, .. } = cubin;
    let functions = disassemble(cuobjdump, cubin);
    let mut faults = Vec::new();
    let required = REQUIRED.iter().filter(|(name, archs, _)| name == file && archs.contains(arch));
    for opcode in required.flat_map(|(.., opcodes)| *opcodes) {
        for function in functions.iter().filter(|function| !function.has(opcode)) {
            faults.push(format!("{file} for {arch}: {} has no {opcode}", function.name));
        }
    }
    for function in &functions {
        let row = PTXAS.iter().find(|row| row.kernel == function.name && row.arch == *arch);
        if row.is_none_or(|row| row.allowed_local_bytes == 0) && (function.has("LDL") || function.has("STL")) {
            faults.push(format!("{file} for {arch}: {} uses local memory", function.name));
        }
    }
    faults
}

fn disassemble(cuobjdump: &Path, Cubin { file, arch, bytes }: &Cubin) -> Vec<Function> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(format!("{file}.{arch}.cubin"));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let output = Command::new(cuobjdump).arg("-sass").arg(&path).output().expect("cuobjdump runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} -sass, {file} for {arch}: {errors}", cuobjdump.display());
    let functions = parse_sass(&String::from_utf8_lossy(&output.stdout));
    assert!(!functions.is_empty(), "{} -sass, {file} for {arch}: it lists no function", cuobjdump.display());
    functions
}

/// Reads `Function : name` and `/*0010*/  @!P0 LDSM.16.M88.4 R4, [R8] ;` lines.
fn parse_sass(text: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Function : ") {
            functions.push(Function { name: name.to_owned(), opcodes: Vec::new() });
        }
        let instruction = line.strip_prefix("/*").and_then(|rest| rest.split_once("*/"));
        let mut words = instruction.map_or("", |(_, instruction)| instruction).split_whitespace();
        let opcode = words.find(|word| !word.starts_with('@'));
        if let (Some(function), Some(opcode)) = (functions.last_mut(), opcode) {
            function.opcodes.push(opcode.trim_end_matches(';').to_owned());
        }
    }
    functions
}

/// A tool of the CUDA toolkit: that of `tools/install-nvcc` first, which disassembles all architectures.
fn find(tool: &str) -> Option<PathBuf> {
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cuda/bin");
    let mut folders = [installed].into_iter().chain(homes).chain(env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join(tool)).filter(|path| path.is_file()))
}

const PTXAS_LOG: &str = "\
ptxas info    : 27 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function 'tile' for 'sm_80'
ptxas info    : Function properties for tile
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 1 barriers, 2048 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 1.904 ms
ptxas info    : Function properties for _Z5helpsPKfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'spilling' for 'sm_80'
ptxas info    : Function properties for spilling
    712 bytes stack frame, 872 bytes spill stores, 884 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 712 bytes cumulative stack size, 368 bytes cmem[0]
";

#[test]
fn ptxas_output_is_read() {
    let usages = ptxas::parse("gemm", "sm_80", PTXAS_LOG).unwrap();
    let all: Vec<_> =
        usages.iter().map(|usage| (&*usage.kernel, usage.registers, usage.smem_bytes, usage.local_bytes())).collect();
    assert_eq!(all, [("tile", 16, 2048, 0), ("_Z5helpsPKfi", 0, 0, 0), ("spilling", 64, 0, 884)]);

    let note = "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due to \
                insufficient register resources for the wgmma pipeline in the function 'wg'";
    let error = ptxas::parse("gemm", "sm_90a", &format!("{note}\n{PTXAS_LOG}")).unwrap_err();
    assert!(error.contains(note), "{error}");
}

#[test]
fn local_memory_needs_a_line_and_a_line_needs_local_memory() {
    let usages = ptxas::parse("gemm", "sm_80", PTXAS_LOG).unwrap();
    let usages: Vec<_> = usages.iter().collect();
    let check = |text: &str| ptxas::check_allowed(&usages, &ptxas::parse_allowed(text).unwrap());
    let error = check("# none\n").unwrap_err();
    assert!(error.contains("spilling for sm_80") && error.contains("884 bytes of spill loads"), "{error}");
    assert!(check("spilling sm_80 883  # nearly\n").is_err());
    assert_eq!(check("\nspilling sm_80 884  # a test\nother sm_90a 8  # not built\n"), Ok(()));
    let error = check("spilling sm_80 884  # a test\ntile sm_80 8  # no longer\n").unwrap_err();
    assert!(error.contains("spills.txt:2: tile for sm_80 uses no local memory"), "{error}");
    for wrong in ["spilling sm_80 884", "spilling sm_80 # no bytes", "spilling 80 8 # arch", "spilling sm_80 8 #"] {
        assert!(ptxas::parse_allowed(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn disassembly_is_read() {
    let text = "\t\tFunction : tile\n\t.headerflags\t@\"EF_CUDA_SM80\"\n\
                        /*0010*/              @!P0 LDSM.16.M88.4 R4, [R8+0x10] ;     /* 0x0000100804047 */\n\
                                                                               /* 0x000fe40000000f00 */\n\
                        /*0020*/                   EXIT ;                            /* 0x000000000000794d */\n";
    let functions = parse_sass(text);
    let [function] = &functions[..] else { panic!("{} functions", functions.len()) };
    assert_eq!(function.name, "tile");
    assert!(function.has("LDSM") && function.has("LDSM.16") && function.has("EXIT"));
    assert!(!function.has("LDS") && !function.has("STL"));
}

#[test]
fn a_serialised_main_loop_is_seen() {
    let slices = |opcodes: &str| {
        let opcodes = opcodes.split_whitespace().map(str::to_owned).collect();
        Function { name: "product".into(), opcodes }.slices()
    };
    let good = "WARPGROUP.ARRIVE HGMMA.64x256x16.F32.BF16 IADD3 HGMMA.64x256x16.F32.BF16 WARPGROUP.DEPBAR.LE";
    assert_eq!(slices(good), Ok(vec![2]));
    assert_eq!(slices("WARPGROUP.ARRIVE HGMMA WARPGROUP.DEPBAR.LE WARPGROUP.ARRIVE HGMMA"), Ok(vec![1, 1]));
    assert!(slices("WARPGROUP.ARRIVE HGMMA WARPGROUP.DEPBAR.LE HGMMA").unwrap_err().contains("product: a wgmma"));
    assert!(slices("HGMMA").is_err());
}
