cd "$(dirname "$0")/../.."
D=/tmp/session; T=${1:-400}; [ -x out/gpu-session/pid ] || { mkdir -p $D out/gpu-session; tar -C out/gpu-session -xJf out/carry/bin.tar.xz; }
trap 'tar -C /tmp --exclude=*.safetensors --exclude=*.npy -czf $OUT/session.tgz session; echo total $SECONDS' EXIT
P=out/gpu-session/pid; S="--config flux-v1.5 --width 2048 --height 2048"
J() { n=$1; l=$2; shift 2; local b=$SECONDS; if [ $((SECONDS+5)) -gt $T ]; then echo "skip $n"; return; fi; timeout $(( l < T-SECONDS ? l : T-SECONDS )) "$@" > $D/$n.out 2> $D/$n.err; echo "$n rc $? $((SECONDS-b)) s"; }
ls -la /tmp/w | head
for n in 32 256 512; do
 d="$P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l$n.npy --caption /tmp/w/c.npy --seed 3 --json"
 J decode-$n 30 $d --out /tmp/w/p$n.safetensors
 case $n in 32) B="1900MB 1GB 400MB";; 256) B="2GB 1200MB 700MB";; 512) B="2GB";; esac
 for b in $B; do J decode-$n-$b 30 $d --out /tmp/w/q.safetensors --budget $b
  python3 - <<P
import hashlib
def body(p):
    d=open(p,'rb').read(); n=int.from_bytes(d[:8],'little'); return hashlib.sha256(d[8+n:]).hexdigest()
try: a,b=body('/tmp/w/p$n.safetensors'),body('/tmp/w/q.safetensors'); print('$n $b', 'EQUAL' if a==b else 'DIFFERENT', a[:12])
except Exception as e: print('$n $b', e)
P
  rm -f /tmp/w/q.safetensors; done; done
tail -2 $D/decode-32.err
K=out/gpu-session/kernels
sed -n '/engine_tests/,/return/p' tools/gpu-session | head -20
export PID_TEST_DEVICE=cuda:0
SAN() { t=$1; n=$2; l=$3; shift 3; J $t-$n $l compute-sanitizer --tool $t --error-exitcode 9 --print-limit 5 "$@"; tail -3 $D/$t-$n.out; }
SAN memcheck demo 60 $P demo --device cuda:0 --image demo/astronaut.png --size 128 --out /tmp/w/d.png --steps 1
SAN memcheck decode-32-400MB 90 $P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --budget 400MB --out /tmp/w/r.safetensors
SAN racecheck decode-32 90 $P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --out /tmp/w/s.safetensors
SAN synccheck decode-32 60 $P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --out /tmp/w/t.safetensors
SAN memcheck portable 60 $P decode --device cuda:0 --kernels portable --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --out /tmp/w/u.safetensors
SAN racecheck portable 90 $P decode --device cuda:0 --kernels portable --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --out /tmp/w/v.safetensors
SAN initcheck decode-32 60 $P decode --device cuda:0 --checkpoint /tmp/w/ck.safetensors --latent /tmp/w/l32.npy --caption /tmp/w/c.npy --steps 1 --out /tmp/w/x.safetensors
