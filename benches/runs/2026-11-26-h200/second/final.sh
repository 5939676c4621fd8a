cd "$(dirname "$0")/../.."
D=/tmp/session; mkdir -p $D out/gpu-session; T=${1:-200}
tar -C out/gpu-session -xJf out/carry/bin.tar.xz
trap 'tar -C /tmp -czf $OUT/session.tgz session; echo total $SECONDS' EXIT
P=out/gpu-session/pid; S="--config flux-v1.5 --width 2048 --height 2048"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader; $P --version || exit 3
J() { n=$1; l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
Y="python3 tools/peer/time_decode.py --inside $S"
STRONG="--mode compile --per-block --dtype bf16 --hoist --attention cudnn"
( timeout 90 $Y $STRONG --warm-up 1 --repeat 1 > $D/warm.out 2> $D/warm.err; echo "warm rc $? at $SECONDS" ) &
W=$!
tools/gpu-session run --out $D --seconds 55 --jobs 10 micro kernels golden 2>&1 | tail -40
wait $W
J old-tune 15 out/gpu-session/pid_old bench --tune --tuning $D/old-tuning.json --json $S --warmup 2 --runs 7
J tune 25 $P bench --tune --tuning $D/tuning.json --json $S --warmup 2 --runs 7
J bench-tuned 20 $P bench --tuning $D/tuning.json --json $S
J bench-old 20 out/gpu-session/pid_old bench --tuning $D/old-tuning.json --json $S --runs 10
J eager 40 $Y --warm-up 1 --repeat 3
J strong 45 $Y $STRONG --warm-up 2 --repeat 5
J kernels-2048 40 python3 tools/peer/time_kernels.py $D/tune.out $S --warm-up 2 --repeat 5
export PID_CUDA_SYNC=1
J ncu 45 ncu --set full --import-source no --clock-control none --kernel-id '::regex:^(attention_bounded_d64|attention_bounded_d72|gemm_residual|gemm_pixel_update_128|gemm_pixel_update_sample|conv3x3_tokens|gemm_swiglu|gemm_qkv_folded).*:2' --launch-count 9 --export $D/ncu --force-overwrite $P bench --tuning $D/tuning.json --json $S --warmup 0 --runs 1 --steps 1
unset PID_CUDA_SYNC
J ncu-details 10 ncu --import $D/ncu.ncu-rep --page details --csv
J ncu-source 15 ncu --import $D/ncu.ncu-rep --page source --csv
rm -f $D/ncu.ncu-rep
J bench-1024 15 $P bench --json --config flux-v1.5 --width 1024 --height 1024 --runs 10
J bench-default 15 $P bench --json $S --runs 10
