//! Kernels that carry a cluster size need nothing from the launch but a grid that it divides.

use pid_engine::backend::cuda::Cuda;
use pid_engine::backend::device::{Command, Driver};
use pid_engine::kernels::KernelCall;
use pid_engine::kernels::cubins::TEST_CUBINS;

use crate::driver::{Fake, Machine};

/// `PidMicroParams`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Words {
    input: u64,
    output: u64,
}

#[test]
fn the_grid_is_a_multiple_of_the_cluster() {
    let Some(fake) = Fake::new(Machine { major: 9, minor: 0, ..Machine::default() }) else { return };
    if !TEST_CUBINS.iter().any(|cubin| cubin.file == "micro_cluster" && cubin.arch == "sm_90a") {
        println!("skipped: no kernels for sm_90a");
        return;
    }
    let driver = Cuda::with_cubins(0, TEST_CUBINS).unwrap();
    let output = driver.allocate(64).unwrap();
    let run = |grid_x: u32| {
        let params = Words { input: output, output };
        let call = KernelCall::new("micro_cluster_rank", [grid_x, 1, 1], 32, 0, &params);
        driver.run(&[Command::launch("test", call)]).map_err(|e| e.to_string())
    };
    run(4).unwrap();
    let mut words = [0u8; 16];
    driver.download(output, &mut words).unwrap();
    assert_eq!(bytemuck::cast_slice::<u8, u32>(&words), [0, 1, 0, 1]);
    let error = run(3).unwrap_err();
    assert!(error.contains("invalid cluster size"), "{error}");
    assert!(fake.violations().contains("micro_cluster_rank: grid x = 3, no multiple of the cluster of 2"));
    driver.free(output, 64);
}
