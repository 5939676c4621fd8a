cd "$(dirname "$0")/../.."
D=/tmp/session; T=${1:-200}; [ -x out/gpu-session/pid ] || { mkdir -p $D out/gpu-session; tar -C out/gpu-session -xJf out/carry/bin.tar.xz; }
trap 'tar -C /tmp --exclude=*.safetensors --exclude=*.npy -czf $OUT/session.tgz session; echo total $SECONDS' EXIT
P=out/gpu-session/pid
J() { local n=$1 l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
python3 - <<'Q'
import numpy as np
g=np.random.default_rng(1)
for n in (64,128): np.save(f"/tmp/w/l{n}.npy", g.standard_normal((1,16,n,n),dtype=np.float32))
Q
for n in 32 64 128; do
 d="$P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l$n.npy --caption /tmp/w/c.npy --seed 3 --json"
 rm -f /tmp/w/p$n.safetensors; J decode-$n 30 $d --out /tmp/w/p$n.safetensors
 case $n in 32) B="1900MB 1GB 400MB";; 64) B="2GB 1200MB 600MB";; 128) B="2GB";; esac
 for b in $B; do J decode-$n-$b 30 $d --out /tmp/w/q$b.safetensors --budget $b
  python3 - <<Q
import hashlib
def body(p):
    d=open(p,'rb').read(); n=int.from_bytes(d[:8],'little'); return hashlib.sha256(d[8+n:]).hexdigest()
try: a,b=body('/tmp/w/p$n.safetensors'),body('/tmp/w/q$b.safetensors'); print('$n $b', 'EQUAL' if a==b else 'DIFFERENT', a[:12])
except Exception as e: print('$n $b', e)
Q
  rm -f /tmp/w/q$b.safetensors; done; done
tail -n 2 $D/memcheck-*.out $D/synccheck-*.out $D/initcheck-*.out $D/racecheck-*.out; tail -n 2 $D/memcheck-demo.err
export PID_TEST_DEVICE=cuda:0
J racecheck-kernels 60 compute-sanitizer --tool racecheck --error-exitcode 9 out/gpu-session/kernels --test-threads 1 gemm::linear::ragged attention rows 
tail -n 4 $D/racecheck-kernels.out
