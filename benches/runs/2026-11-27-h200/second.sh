cd "$(dirname "$0")/../.."
D=/tmp/session; mkdir -p $D out/gpu-session; T=${1:-400}
[ -x out/gpu-session/pid ] || tar -C out/gpu-session -xJf out/carry/bin.tar.xz
trap 'rm -f $D/ncu.ncu-rep; tar -C /tmp -czf $OUT/session.tgz session; echo total $SECONDS' EXIT
P=out/gpu-session/pid; S1="--config flux-v1.5 --width 1024 --height 1024"; S="--config flux-v1.5 --width 2048 --height 2048"; S4="--config flux-v1.5 --width 4096 --height 4096"
J() { n=$1; l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
nvidia-smi --query-gpu=name,uuid,clocks.sm,temperature.gpu --format=csv,noheader; ls $D | head -3
rm -f $D/tuning2.json
J tune-2048 60 $P bench --tune --tuning $D/tuning2.json --json $S --warmup 2 --runs 7
J bench-2048-again 15 $P bench --json $S --runs 20
J bench-2048-tuned 20 $P bench --tuning $D/tuning2.json --json $S --runs 20
J kernels-2048 50 python3 tools/peer/time_kernels.py $D/tune-2048.out $S --warm-up 2 --repeat 5
export PID_CUDA_SYNC=1
J ncu 45 ncu --set full --import-source no --clock-control none --kernel-id '::regex:^(attention_bounded_d64|gemm_residual|gemm_pixel_update|conv3x3_tokens|gemm_swiglu|gemm_qkv_folded).*:2' --launch-count 7 --export $D/ncu --force-overwrite $P bench --json $S --warmup 0 --runs 1 --steps 1
unset PID_CUDA_SYNC
J ncu-details 10 ncu --import $D/ncu.ncu-rep --page details --csv
J check 190 $P check --device cuda:0 --json --junit $D/check.xml
J check-portable 300 $P check --device cuda:0 --kernels portable --json --junit $D/check-portable.xml
