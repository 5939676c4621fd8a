cd "$(dirname "$0")/../.."
D=/tmp/session; mkdir -p $D out/gpu-session; T=${1:-430}
tar -C out/gpu-session -xJf out/carry/bin.tar.xz
trap 'tar -C /tmp -czf $OUT/session.tgz session; ls -la $OUT; echo total $SECONDS' EXIT
P=out/gpu-session/pid; S1="--config flux-v1.5 --width 1024 --height 1024"; S="--config flux-v1.5 --width 2048 --height 2048"; S4="--config flux-v1.5 --width 4096 --height 4096"
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm --format=csv,noheader; $P --version || exit 3
nvidia-smi -q > $D/nvidia-smi.txt
J() { n=$1; l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
Y="python3 tools/peer/time_decode.py --inside"
STRONG="--mode compile --per-block --dtype bf16 --hoist --attention cudnn"
( timeout 90 $Y $S $STRONG --warm-up 1 --repeat 1 > $D/warm.out 2> $D/warm.err; echo "warm rc $? at $SECONDS" ) &
W=$!
tools/gpu-session run --out $D --seconds 80 --jobs 10 micro kernels golden 2>&1 | tail -40
wait $W
echo "tests at $SECONDS"
J tune-2048 25 $P bench --tune --tuning $D/tuning.json --json $S --warmup 2 --runs 7
J tune-1024 25 $P bench --tune --tuning $D/tuning.json --json $S1 --warmup 2 --runs 7
J bench-2048 15 $P bench --json $S --runs 10
J bench-2048-tuned 20 $P bench --tuning $D/tuning.json --json $S --runs 20
J eager-2048 40 $Y $S --warm-up 1 --repeat 3
J strong-2048 50 $Y $S $STRONG --warm-up 2 --repeat 5
J kernels-2048 40 python3 tools/peer/time_kernels.py $D/tune-2048.out $S --warm-up 2 --repeat 5
J bench-2048-portable 25 $P bench --json $S --runs 5 --kernels portable
J bench-1024 15 $P bench --json $S1 --runs 20
J bench-1024-tuned 15 $P bench --tuning $D/tuning.json --json $S1 --runs 20
J eager-1024 30 $Y $S1 --warm-up 1 --repeat 3
J bench-4096 40 $P bench --json $S4 --warmup 1 --runs 3
J eager-4096 70 $Y $S4 --warm-up 1 --repeat 1
J strong-4096 100 $Y $S4 $STRONG --warm-up 1 --repeat 2
J kernels-1024 40 python3 tools/peer/time_kernels.py $D/tune-1024.out $S1 --warm-up 2 --repeat 5
J check 120 $P check --device cuda:0 --json --junit $D/check.xml
