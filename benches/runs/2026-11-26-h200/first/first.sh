cd "$(dirname "$0")/../.." 
B=$SECONDS
DIR=/tmp/session; mkdir -p $DIR out/gpu-session
tar -C out/gpu-session -xJf out/carry/bin.tar.xz
finish() { tar -C /tmp -czf $OUT/session.tgz session; ls -la $OUT; echo "total $SECONDS s"; }
trap finish EXIT
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit --format=csv,noheader
python3 -c "import torch;print(torch.__version__, torch.backends.cudnn.version())" &
out/gpu-session/pid --version || exit 3
run() { tools/gpu-session run --out $DIR "$@" 2>&1 | tail -60; echo "-- at $SECONDS s"; }
run --seconds 60 --jobs 12 info micro
run --seconds 110 --jobs 12 kernels
run --seconds 70 --jobs 4 golden
run --seconds 60 --sizes 2048x2048 bench
run --seconds $((310-SECONDS)) check
